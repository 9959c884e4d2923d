// Package standin imitates kcp: its shards hold objects in memory, serve the lists
// and watches that a front-proxy reads, and answer who they take a caller for. It is
// for tests of the whole program for which a real kcp is too slow or too old:
// thousands of workspaces, migration, mount re-entry, faults.
//
// A stand-in shard reads identity with apiserver's own requestheader
// authenticator, so "who am I" is what a real shard would have read.
package standin
