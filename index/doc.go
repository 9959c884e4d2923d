// Package index knows where every logical cluster and workspace of a kcp
// installation is, and what type it has. Watches fills it; Lookup reads it.
//
// # What is kept
//
// The tables hold what the shards show, copy by copy, and nothing derived but
// each cluster's holder:
//
//   - a cluster record for every logical cluster that anything names: its copies
//     (the LogicalCluster objects, one a shard), its holder, and the list of
//     Workspaces that name it in spec.cluster (its claimants);
//   - a workspace record for every (parent cluster, shard, name).
//
// So every event touches only its own shard's copy. A delete from one shard
// cannot remove what another shard shows, and the tables do not depend on the
// order in which shards and watches deliver: they are a function of what each
// shard showed last.
//
// # Where a cluster is
//
// One copy: its shard holds the cluster. Several: the only one without the
// annotation internal.kcp.io/migrating; if there is no such one, ErrConflict.
// Workspaces are read on the shard that holds their parent and nowhere else, so
// that a copy left behind by a move neither adds a path nor keeps a deleted one.
//
// A path's first segment is a logical cluster, or user:<name> for the home
// workspace of that user. What a Workspace's status.phase means:
//
//   - Scheduling counts as absent: it has no place yet.
//   - Unavailable is ErrUnavailable for the workspace and what is below it by path,
//     while /clusters/<id> of it is served.
//   - Every other phase is served, and the shard decides, as with kcp's proxy:
//     Initializing, Ready; Inactive, where the shard refuses the content and serves
//     the LogicalCluster by which the workspace is activated again; Terminating and
//     Deleting, where controllers still clear the content away; no phase, and the
//     phases of a later kcp, of which only the shard knows what they mean.
//
// The phase of a LogicalCluster is not read.
//
// A Workspace with spec.mount is a mount: its
// spec.cluster is ignored, because whoever may write the Workspace can set it
// (kcp v0.31.2 admits that), nothing below it resolves, and it gives no cluster
// a type.
//
// # Which type a cluster has
//
// The type is spec.type of the Workspace that names the cluster in spec.cluster
// (kcp lets only itself set that on a Workspace that is no mount). Its path is
// walked like any other path to the cluster that owns the type. A claim on a
// shard other than the one that holds the claim's parent is a leftover, and
// ignored; all others must be copies of one Workspace with one type, or the
// type is ErrConflict.
//
// The annotation internal.tenancy.kcp.io/type counts only for a cluster that
//
//   - no Workspace names, not even a leftover (unless it is root, which has no
//     parent: there no Workspace counts),
//   - is called root, or looks like a home workspace by its name (8 to 13 base 36
//     digits: kcp's names for workspaces have 16), and
//   - has no spec.owner.
//
// The name is what protects: storage sets it. spec.owner and the annotation can
// both be rewritten by whoever may update the LogicalCluster, which a
// workspace's own administrator may (kcp v0.31.2 checks neither), and a
// Workspace can be gone before its LogicalCluster (finalizers can be removed) or
// be turned into a mount by the parent's administrator. In none of these cases
// may the annotation begin to count. The owner of a home workspace may still
// choose its type; that opens nothing but that home.
//
// For any other cluster without a Workspace the type is not "none" but ErrUnknown,
// since the Workspace's event may be on its way.
//
// # What is not known yet
//
// While root has not answered, or a listed shard has never been read, what is
// missing is ErrNotSynced instead of ErrUnknown; but for no longer than five
// minutes after the start or after the shard was first seen. What a shard showed
// outlives a lost watch.
//
// # Invariants of the tables
//
//   - clusterID, workspaceID, typeID and shardID 0 mean "none".
//   - cluster.refs counts its copies, its children and its claims; the record
//     goes when it reaches 0. typeTable counts references likewise.
//   - cluster.holder is always what holderOf computes from the copies.
//   - a workspace is in its child's claimants exactly if child is not 0; a mount's
//     child is 0.
//   - clusterNames and workspaceKeys (hashIndex) hold the ids of the records, which hold the keys: a
//     record leaves them before its key is cleared.
//   - one lock guards everything; no method does I/O or parses under it, and
//     bulk removal lets it go every few records.
package index
