package index

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"frontproxy/index/shards"
)

// Feeds returns what must be watched on every shard to fill the index. The
// index must be the Registry of the Watcher that runs them.
func (x *Index) Feeds() []shards.Feed {
	return []shards.Feed{{
		Resource: schema.GroupVersionResource{Group: "core.kcp.io", Version: "v1alpha1", Resource: "logicalclusters"},
		New:      func() shards.Object { return &logicalCluster{} },
		Table: func(shard string) shards.Table {
			return &clusterTable{x: x, shard: x.slot(shard), gen: never + 1}
		},
	}, {
		Resource: schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: "workspaces"},
		Identity: "tenancy.kcp.io",
		New:      func() shards.Object { return &workspaceObject{} },
		Table: func(shard string) shards.Table {
			return &workspaceTable{x: x, shard: x.slot(shard), gen: never + 1}
		},
	}}
}

func (x *Index) slot(name string) shardID {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shardID(name)
}
