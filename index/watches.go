package index

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"frontproxy/index/shards"
)

// Watches returns the watches that must run on every shard to fill the index. The
// index must be the Registry of the Watcher that runs them.
func (idx *Index) Watches() []shards.ResourceWatch {
	return []shards.ResourceWatch{{
		Resource: schema.GroupVersionResource{Group: "core.kcp.io", Version: "v1alpha1", Resource: "logicalclusters"},
		New:      func() shards.Object { return &logicalCluster{} },
		Table: func(shard string) shards.Table {
			return &clusterTable{idx: idx, shard: idx.slot(shard), gen: never + 1}
		},
	}, {
		Resource: schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: "workspaces"},
		Identity: "tenancy.kcp.io",
		New:      func() shards.Object { return &workspaceObject{} },
		Table: func(shard string) shards.Table {
			return &workspaceTable{idx: idx, shard: idx.slot(shard), gen: never + 1}
		},
	}}
}

func (idx *Index) slot(name string) shardID {
	idx.mu.Lock()
	defer idx.mu.Unlock()
	return idx.ensureShard(name)
}
