package index

import (
	"errors"
	"net/url"

	"frontproxy/index/shards"
)

// Target is what a path names. The zero Target is "no cluster": requests that
// need no lookup have it.
type Target struct {
	// Cluster is the logical cluster's name; empty for a mount.
	Cluster string
	// Shard holds Cluster; nil for a mount.
	Shard *shards.Shard
	// Type is the workspace type of Cluster; zero when it has none.
	Type Type
	// Mount is the workspace's spec.URL when the path names a mount, else nil.
	// It is tenant-supplied. Immutable.
	Mount *url.URL
	// Services is the shard whose virtual workspaces the path names, below
	// /shards/<name>/services/; nil for every other path. Cluster is then what the
	// virtual workspace is of, as far as that is known.
	Services *shards.Shard
}

// Type is a workspace type as the workspace graph resolves it: by the logical
// cluster that owns the WorkspaceType object and the object's name, never by
// an annotation a tenant could write.
type Type struct {
	// Cluster owns the type; empty when Err is set or there is no type.
	Cluster string
	// Name is the WorkspaceType object's name. Empty means "no type" if Err is
	// nil, and "which type is not known" if Err is set: look at Err first.
	Name string
	// Path is the owner as the Workspace object spells it, for explanations.
	Path string
	// Err says why the owner could not be found (ErrUnknown, ErrNotSynced,
	// ErrUnavailable, ErrConflict); nil when it was, or when there is no type.
	Err error
}

// Errors of Lookup. Callers branch on them with errors.Is.
var (
	// ErrUnknown: every shard has been read and none has it (403).
	ErrUnknown = errors.New("unknown logical cluster")
	// ErrNotSynced: a shard that was never read might have it (503).
	ErrNotSynced = errors.New("not all shards have been read yet")
	// ErrUnavailable: the workspace, or one above it on the path, is in phase
	// Unavailable (503).
	ErrUnavailable = errors.New("workspace is unavailable")
	// ErrConflict: two shards claim the logical cluster, or two Workspaces do,
	// as for a moment of a migration (503).
	ErrConflict = errors.New("two shards claim the logical cluster")
)
