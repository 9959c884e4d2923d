// Package harness starts a real kcp on loopback: a cache server, shards with
// everything embedded (on demand with their virtual workspaces in a server
// beside them), and a proxy in front of them, each a process of its own. The end-to-end
// tests and the demo share it.
//
// It stops what it starts: every process has its own process group, is killed when
// this process ends (Pdeathsig), and is ended by Stop in the order proxy, shards,
// root shard, cache server. The work directory has the keys, the kubeconfigs and,
// below logs/, one log file for each process.
//
// What may surprise:
//   - A shard publishes the proxy's address as its external URL, so the
//     proxy's port is chosen before anything starts.
//   - Ports are taken from below the kernel's range for outgoing connections:
//     a stopped shard finds its port still free when it comes back.
//   - Every shard signs service account tokens with its own key, as real
//     installations do.
package harness
