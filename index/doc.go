// Package index knows the shard and the workspace type of every logical cluster and
// workspace of a kcp installation. Watches fills it; Lookup reads it.
//
// It must not know requests or users.
//
// # Records
//
// The tables hold what each shard shows, one record per copy. The only derived value is
// each cluster's holder:
//
//   - A cluster record exists for every logical cluster that anything names. It has the
//     cluster's copies (the LogicalCluster objects, one per shard), its holder, and its
//     claimants: the Workspaces that name it in spec.cluster.
//   - A workspace record exists for every (parent cluster, shard, name).
//
// So an event changes only its own shard's copy. A delete on one shard cannot remove what
// another shard shows. The tables do not depend on the order in which shards and watches
// deliver events, only on what each shard showed last.
//
// # Where a cluster is
//
// If a cluster has one copy, that copy's shard holds it. If it has several, the holder is
// the shard of the only copy without the annotation internal.kcp.io/migrating; if there is
// no such copy, the result is ErrConflict. The index reads a Workspace only on the shard
// that holds its parent. So a copy that a migration left behind neither adds a path nor
// keeps a deleted one.
//
// A cluster has moved to a shard when that shard holds it with a copy that is not marked:
// neither a conflict nor a copy that kcp has not released yet is a move, and so is
// nothing that is missing from a list or from a shard that does not answer. OnMove,
// MoveState and MovedAt report moves. What they need is kept for each cluster that was
// seen on several shards, as long as the cluster exists, and for at most 1024 that vanished
// while they were marked. It is lost with the process.
//
// The first segment of a path is a logical cluster, or user:<name> for that user's home
// workspace. A Workspace's status.phase has these effects:
//
//   - Scheduling: as if the workspace did not exist, because it has no shard yet.
//   - Unavailable: ErrUnavailable for the workspace and for everything below it by path;
//     /clusters/<id> of it is served.
//   - Any other phase is served and the shard decides, as with kcp's proxy: Initializing,
//     Ready; Inactive, where the shard refuses the content but serves the LogicalCluster
//     through which the workspace is activated again; Terminating and Deleting, where
//     controllers still remove the content; no phase, and phases of a later kcp, whose
//     meaning only the shard knows.
//
// The index does not read the phase of a LogicalCluster.
//
// A Workspace with spec.mount is a mount. The index ignores its spec.cluster, because
// anybody who may write the Workspace can set that field (kcp v0.31.2 allows it). Nothing
// below a mount resolves, and a mount gives no cluster a type.
//
// # Which type a cluster has
//
// The type is spec.type of the Workspace that names the cluster in spec.cluster. (On a
// Workspace that is not a mount, kcp allows only itself to set that field.) The index
// resolves the type's path like any other path, to the cluster that owns the type. It
// ignores claims on a shard that does not hold the claim's parent: they are leftovers. All
// other claims must be copies of one Workspace with one type, or the type is ErrConflict.
//
// The annotation internal.tenancy.kcp.io/type is used only for a cluster that
//
//   - no Workspace names, not even a leftover (except root, which has no parent: for root,
//     Workspaces are ignored),
//   - is called root, or has a name like a home workspace's (8 to 13 base 36 digits; kcp's
//     names for workspaces have 16), and
//   - has no spec.owner.
//
// The name protects here, because storage sets it. Anybody who may update the
// LogicalCluster, which includes the workspace's own administrator, can rewrite spec.owner
// and the annotation (kcp v0.31.2 checks neither). And a Workspace can be gone before its
// LogicalCluster (finalizers can be removed), or the parent's administrator can turn it
// into a mount. The annotation must not take effect in any of these cases. The owner of a
// home workspace may still choose its type; that affects only that home.
//
// For any other cluster without a Workspace the type is not "none" but ErrUnknown, since
// the Workspace's event may still be on its way.
//
// # What is not known yet
//
// While root has not answered, or a listed shard has never been read, a missing cluster is
// ErrNotSynced instead of ErrUnknown, but for at most five minutes after the start or after
// the shard was first seen. What a shard showed stays after a watch is lost.
//
// # Invariants of the tables
//
//   - clusterID, workspaceID, typeID and shardID 0 mean "none".
//   - cluster.refs counts the cluster's copies, children and claims; at 0 the record is
//     removed. typeTable counts references in the same way.
//   - cluster.holder is always what holderOf computes from the copies.
//   - A workspace is in its child's claimants exactly if child is not 0; a mount's child
//     is 0.
//   - clusterNames and workspaceKeys (hashIndex) hold the IDs of the records, which hold
//     the keys: a record leaves them before its key is cleared.
//   - One lock guards everything. No method does I/O or parses under it, and bulk removal
//     releases it every few records.
package index
