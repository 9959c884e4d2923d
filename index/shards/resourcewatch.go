package shards

import "k8s.io/apimachinery/pkg/runtime/schema"

// Object is one item of a watch: a slim struct, with JSON tags for just what its
// table wants of it. Strings it holds are its own.
type Object interface {
	// Version is metadata.resourceVersion.
	Version() string
}

// Meta is the metadata most slim types need; use it for their Metadata field.
type Meta struct {
	Name            string `json:"name"`
	ResourceVersion string `json:"resourceVersion"`
	Annotations     struct {
		// Cluster is the logical cluster the object lives in, set by storage.
		Cluster string `json:"kcp.io/cluster"`
	} `json:"annotations"`
}

// ResourceWatch is one wildcard list and watch on every shard, straight into a table.
type ResourceWatch struct {
	// Resource is what to list, in all logical clusters of a shard.
	Resource schema.GroupVersionResource
	// Identity names the APIExport in root whose identity goes into the path
	// ("tenancy.kcp.io"); empty for none.
	Identity string
	// New returns an empty object for JSON to be decoded into.
	New func() Object
	// Table returns where a shard's events go. It is called once in a shard's
	// life, before the first event; a change of address is not a new life.
	Table func(shard string) Table
}

// Table takes the events of one watch on one shard. Its methods are called from
// one goroutine at a time, and must not call the Watcher. It owns the objects
// it is given.
type Table interface {
	// Begin says that a list starts: Upserts follow until End. A second Begin
	// without End between says that the first list broke off.
	Begin()
	// Upsert adds or replaces an object.
	Upsert(Object)
	// Delete removes an object, given as it was last.
	Delete(Object)
	// End says that the list is complete: what was not upserted since the last
	// Begin does not exist. After the first End the watch has synced.
	End()
}
