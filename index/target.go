package index

import (
	"errors"
	"net/url"

	"frontproxy/index/shards"
)

// Target is the target of a path. The zero Target means "no cluster": it is that of
// requests that need no lookup.
type Target struct {
	// Cluster is the logical cluster's name; empty for a mount.
	Cluster string
	// Shard holds Cluster; nil for a mount.
	Shard *shards.Shard
	// Type is the workspace type of Cluster; zero when it has none.
	Type Type
	// Mount is the workspace's spec.URL if the path leads to a mount, else nil. A
	// tenant chose it. Immutable.
	Mount *url.URL
	// MountParent is the logical cluster whose Workspace is the mount; empty if the path
	// leads to no mount.
	MountParent string
}

// Type is a workspace type as the index resolves it: the logical cluster that owns
// the WorkspaceType object, and the object's name. It never comes from an annotation
// that a tenant could write.
type Type struct {
	// Cluster owns the type; empty when Err is set or there is no type.
	Cluster string
	// Name is the WorkspaceType object's name. If it is empty, the cluster has no
	// type (Err is nil) or an unknown type (Err is set): check Err first.
	Name string
	// Path is the owner as the Workspace object names it, for explanations.
	Path string
	// Err says why the owner could not be found (ErrUnknown, ErrNotSynced,
	// ErrUnavailable, ErrConflict); nil if it was found, or if there is no type.
	Err error
}

// Errors of Lookup. Callers branch on them with errors.Is.
var (
	// ErrUnknown: every shard has been read and none has the cluster (403).
	ErrUnknown = errors.New("unknown logical cluster")
	// ErrNotSynced: a shard that was never read might have it (503).
	ErrNotSynced = errors.New("not all shards have been read yet")
	// ErrUnavailable: the workspace, or one above it on the path, is in phase
	// Unavailable (503).
	ErrUnavailable = errors.New("workspace is unavailable")
	// ErrConflict: two shards or two Workspaces claim the logical cluster, for
	// example briefly during a migration (503).
	ErrConflict = errors.New("two shards claim the logical cluster")
)
