// Command soak keeps a kcp of two shards, issuers and front-proxy under mixed
// load while shards are killed, frozen and moved and everything the proxy reads
// changes. It fails when a request is lost that no fault explains, when a watch
// ends that should not (or goes on when it should end), when the proxy restarts
// or panics, or when its memory, goroutines or descriptors grow.
//
// The first round of faults is the warm-up. After it and at the end the load is
// taken away, and the two idle states are compared; in between, readings under
// load after each fault show whether there is a trend.
package main
