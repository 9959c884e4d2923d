package shards

import "k8s.io/apimachinery/pkg/runtime/schema"

// Object is one item of a watch: a slim struct with JSON tags for only the fields
// that its table needs. It owns its strings.
type Object interface {
	// Version is metadata.resourceVersion.
	Version() string
}

// Meta is the metadata that most slim types need, for their Metadata field.
type Meta struct {
	Name            string `json:"name"`
	ResourceVersion string `json:"resourceVersion"`
	Annotations     struct {
		// Cluster is the logical cluster the object lives in, set by storage.
		Cluster string `json:"kcp.io/cluster"`
	} `json:"annotations"`
}

// ResourceWatch is one wildcard list and watch on every shard, which feeds a table.
type ResourceWatch struct {
	// Resource is the resource to list, in all logical clusters of a shard. It is not of the
	// core group.
	Resource schema.GroupVersionResource
	// Identity names the APIExport in root whose identity goes into the path
	// ("tenancy.kcp.io"); empty for none.
	Identity string
	// New returns an empty object to decode JSON into.
	New func() Object
	// Table returns the table for a shard's events. It is called once for each shard,
	// before the first event, and not again when the shard's address changes.
	Table func(shard string) Table
}

// Table receives the events of one watch on one shard. Its methods are called from
// one goroutine at a time and must not call the Watcher. It owns the objects that it
// receives.
type Table interface {
	// Begin starts a list: Upserts follow until End. A second Begin without an End
	// means that the first list was interrupted.
	Begin()
	// Upsert adds or replaces an object.
	Upsert(Object)
	// Delete removes an object; its argument is the object's last state.
	Delete(Object)
	// End completes the list: objects that were not upserted since the last Begin do
	// not exist. After the first End the watch is synced. version is the list's resource
	// version; empty when the shard was removed.
	End(version string)
}
