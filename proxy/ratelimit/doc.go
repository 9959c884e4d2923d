// Package ratelimit says which requests come too fast: it has token buckets
// (golang.org/x/time/rate) for workspaces, for identities in a workspace and for client
// addresses, and for what workspaces ask of the proxy itself (PerKey). It decides nothing else:
// it does not know requests, decisions or answers.
//
// Buckets are kept in LRU caches of a fixed number of entries. A bucket that has been evicted
// is full when its key comes back. That is worth something only for a key that was used less
// than Burst / PerSecond seconds ago, because any other bucket would be full by then anyway.
// So a client that wants a bucket evicted must use as many other keys as the cache has entries
// (maxWorkspaces, maxIdentities, maxAddresses), within that time:
//
//   - Anybody who administers a workspace can make up identities in it. Each costs a token
//     of that workspace's bucket, which is asked first, and all of them together never get
//     more than that bucket has.
//   - A workspace's key is the name of a logical cluster that exists, or, for accounts of
//     another, two of them. Each of the other keys is a request that another bucket let pass.
//   - A client with enough addresses for that has as many buckets anyway.
//
// Others' buckets that are evicted are full when they are used next: nobody can have another
// refused in this way.
package ratelimit
