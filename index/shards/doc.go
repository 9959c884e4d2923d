// Package shards finds the shards of a kcp installation and runs every Watch
// once on each of them.
//
// A Watcher follows the Shard objects of the root workspace. For each shard it
// starts one follower per Watch; a follower lists a resource over all logical
// clusters of the shard (/clusters/*/…), then watches it, and hands what it
// reads to the watch's Table.
//
// Why not client-go's reflectors: they keep a whole list in memory before they
// hand it over, which would cost several times what the index itself holds; in
// their streamed lists they hide connection errors (a shard that is down would
// look as if it were syncing) and wait without regard to the context. A
// follower does the same with plain requests: a streamed list where the server
// takes it (sendInitialEvents), pages where not, a watch from the version
// reached, and a new list when that version has expired (410).
//
// What holds:
//
//   - A Table is called by one goroutine at a time.
//   - Begin and End bracket a list. What a Table was not given between them is
//     gone at End; nothing is removed before. So old contents stay served
//     through lost connections, relists and changes of a shard's address. The
//     address itself is published at once: a request that goes to the new
//     address for something only the old one had is refused there, which is
//     the truth by then.
//   - Before a watch is taken up again from a version reached, one small request
//     asks whether the server has come that far; a shard restored from a backup,
//     or started anew at the same address, is listed anew.
//   - A list that broke off is not ended; the next one begins anew.
//   - A shard that goes (its Shard object is deleted) has its followers stopped
//     and waited for, its tables emptied (Begin, End), and is then removed from
//     the Registry. No event of it comes later.
//   - A Shard object whose baseURL cannot be used changes nothing: a shard that
//     had a good address keeps it, one that never had is known but not read.
//     Status says why.
//   - With Config.Peers, Shard objects come from the Admin workspace of whichever
//     peer answers (kcp 0.34 on); a failing one is left for the next, and read
//     anew there. What was read stays served while none answers.
//   - A watch on which nothing has come for Config.Quiet, not even a bookmark, is
//     opened anew: a server that has gone without a word is noticed by the
//     request that precedes it. Watches use HTTP/1.1, so there are no pings.
//   - Frames of a watch are cut by their braces (frames), and what slim structs do
//     not read is passed over (plain): it is not validated.
//   - Slim objects are decoded with case-sensitive field names. An object that
//     does not decode is skipped, counted and logged; it does not stop the others.
//
// Wildcard paths of resources that are bound from an APIExport carry the
// export's identity. It is read from the export in root, kept, and read again
// when a list with it answers 404.
package shards
