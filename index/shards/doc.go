// Package shards finds the shards of a kcp installation and runs every ResourceWatch on each
// of them.
//
// A Watcher follows the Shard objects of the root workspace. For each shard it starts one
// follower per ResourceWatch. A follower lists a resource in all logical clusters of the
// shard (/clusters/*/…), then watches it, and passes what it reads to the watch's Table.
//
// Why not client-go's reflectors? They keep a whole list in memory before they pass it on,
// which would take several times the memory of the index itself. Their streamed lists hide
// connection errors, so a shard that is down would look as if it were syncing, and they
// wait without regard to the context. A follower does the same work with plain requests: a
// streamed list if the server supports it (sendInitialEvents), otherwise pages; then a
// watch from the version that it has reached; and a new list when that version has expired
// (410).
//
// Guarantees:
//
//   - A Table is called by one goroutine at a time.
//   - Begin and End bracket a list. Objects that a Table does not receive between them are
//     removed at End, and nothing is removed earlier. So old contents stay in use during
//     lost connections, relists and changes of a shard's address. The address itself is
//     published at once. A request to the new address for an object that only the old one
//     had is refused there, which is correct by then.
//   - Before a follower resumes a watch from a version, one small request checks that the
//     server has reached that version. A shard that was restored from a backup, or
//     recreated at the same address, is listed again.
//   - A list that was interrupted has no End; the next one begins again.
//   - When a shard is removed (its Shard object is deleted), its followers are stopped and
//     awaited, its tables emptied (Begin, End), and then it is removed from the Registry.
//     No event of the shard follows.
//   - A Shard object with an unusable baseURL changes nothing: a shard that had a usable
//     address keeps it; one that never had is known but not read. Status gives the reason.
//   - With Config.Peers, Shard objects come from the Admin workspace of any peer that
//     responds (from kcp 0.34 on). If a peer fails, the next one is read. Once a peer has
//     been read, every listed shard is a peer. What was read stays in use while none
//     responds.
//   - A watch that receives nothing for Config.WatchIdleTimeout, not even a bookmark, is
//     reopened; the request before it notices a server that vanished. Watches use HTTP/1.1,
//     which has no pings.
//   - Each line of a watch is an event, as API servers send them (frames). Fields that slim
//     structs do not read are skipped (fastDecoder) and not validated.
//   - Slim objects are decoded with case-sensitive field names. An object that cannot be
//     decoded is skipped, counted and logged; it does not stop the others.
//
// Wildcard paths of resources that are bound from an APIExport contain the export's
// identity. It is read from the export in root, cached, and read again when a list with it
// gets 404.
package shards
