// Package shardstest serves a kcp of one shard to a Watcher, in each of the ways in which
// objects reach one. Only tests import it.
package shardstest
