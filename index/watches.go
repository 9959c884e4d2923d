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
		Table:    func(shard string) shards.Table { return &clusterTable{idx.newTable(shard)} },
	}, {
		Resource: schema.GroupVersionResource{Group: "tenancy.kcp.io", Version: "v1alpha1", Resource: "workspaces"},
		Identity: "tenancy.kcp.io",
		New:      func() shards.Object { return &workspaceObject{} },
		Table:    func(shard string) shards.Table { return &workspaceTable{idx.newTable(shard)} },
	}}
}

// table is what the tables of a shard have in common.
type table struct {
	idx   *Index
	shard shardID
	gen   uint32 // of the list or watch whose events come now
}

func (idx *Index) newTable(shard string) table {
	idx.mu.Lock()
	defer idx.mu.Unlock()
	return table{idx, idx.ensureShard(shard), never + 1}
}

func (t *table) Begin() { t.gen = nextGen(t.gen) }
