// Package across has the end-to-end tests of what concerns every shard at once:
// service accounts and virtual workspaces, on a kcp of three shards (root,
// shard-1 and shard-10, each with its own service account keys) whose virtual
// workspace URLs lead through the proxy. shard-10's virtual workspaces run in a
// server of their own, the others' embedded.
package across
