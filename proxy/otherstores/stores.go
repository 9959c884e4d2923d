package otherstores

import (
	"slices"
	"strings"

	"frontproxy/internal/bytecache"
)

const (
	// maxResources is how many resources are remembered for one cluster, so that a tenant
	// with many displaces only its own.
	maxResources = 32
	// maxName bounds the length of their names, in bytes; kcp's are shorter.
	maxName = 320
	// maxBytes bounds what is remembered of all clusters. Only clusters that have
	// moved are remembered, and who moves clusters is an operator.
	maxBytes = 8 << 20
)

// Stores remembers which resources of clusters that have moved are in another store
// than their shard's own.
type Stores struct {
	clusters *bytecache.Cache[string, clusterStores]
}

// clusterStores are the resources of one cluster. They are valid for one move. Nothing
// changes them once they are in the cache.
type clusterStores struct {
	move      Move
	resources []string // those that were found last are last
}

// Move is the shard to which a cluster has moved, and a resource version that the shard had
// reached by then.
type Move struct {
	Shard string
	At    uint64
}

// New remembers nothing yet.
func New() Stores {
	return Stores{bytecache.New[string, clusterStores](maxBytes, nil)}
}

// Has reports whether a resource of a cluster is known to be in another store.
func (s Stores) Has(cluster string, m Move, resource string) bool {
	c, ok := s.clusters.Get(cluster)
	return ok && c.move == m && slices.Contains(c.resources, resource)
}

// Add remembers one. If two are added at the same time, one of them may be lost.
func (s Stores) Add(cluster string, m Move, resource string) {
	if len(resource) > maxName {
		return
	}
	c, _ := s.clusters.Get(cluster)
	next := clusterStores{move: m}
	if c.move == m {
		next.resources = append(next.resources, c.resources[max(0, len(c.resources)-maxResources+1):]...)
	}
	next.resources = append(next.resources, resource)
	size := len(cluster) + len(m.Shard)
	for _, r := range next.resources {
		size += len(r)
	}
	s.clusters.Add(strings.Clone(cluster), next, size)
}
