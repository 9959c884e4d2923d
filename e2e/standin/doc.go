// Package standin is a kcp that is not one: shards that hold objects in memory,
// serve the lists and watches a front-proxy reads, and say who they take a
// caller for. It is for tests of the whole program that a real kcp is too slow
// or too old for: thousands of workspaces, migration, mount re-entry, faults.
//
// A stand-in shard reads identity with apiserver's own requestheader
// authenticator, so "who am I" is what a real shard would have read.
package standin
