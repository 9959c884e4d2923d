// Package proxy takes a request from the listener to a server and the answer back, in a
// chain of steps (handler.go lists them with their files). It also has the streams that
// outlast what admitted them, the limits, audit and tracing, and the server with its
// health checks and its drain. docs/architecture.md lists the files of an ordinary request.
//
// Package routing says where a request goes: its Destination is all that this package
// knows of that. Package authn says who is asking. Package upstream carries the request.
//
// Where to look:
//
//   - what ends a watch or an upgraded connection: streamSet (streams.go)
//   - what happens to streams when a workspace has moved to another shard, which package
//     index notices: streammoves.go, for watches watchexpire.go
//   - what happens to requests with a version of the old shard: resourceversion.go, and package
//     otherstores
//   - whose requests come too fast: rates.go and package ratelimit
//   - who else gets 429: charges (charges.go), by the bounds of requestLimits (requestlimits.go)
//     and memoryBudget (memorybudget.go), from Config.MaxInFlight; for the proxy's own pages
//     packages accessreview and zpages; instead of waiting: authenticateCharged (admit.go)
//   - which headers a server gets: exchange.rewrite (forward.go)
//   - which headers a client gets: exchange.modifyResponse (forward.go) if a server answers,
//     exchange.answer (handler.go) with a Status of the proxy's own
//   - what log, metrics, audit and spans report about a request: record (exchange.go)
//   - what the proxy answers by itself: answerLocally (localendpoints.go), and package healthz
//
// What holds everywhere:
//
//   - A path is read once, by package lookup, and goes out byte for byte as it
//     came; only the cluster below /clusters/ is replaced by the logical
//     cluster's name that was looked up.
//   - Identity headers are set on the outgoing request only, after hop-by-hop
//     headers are gone: first everything a shard could read as identity is
//     deleted, in every spelling, then what was decided is set (package
//     identityheaders).
//   - What wraps the ResponseWriter has Unwrap, so watches flush and upgrades hijack.
//   - What a client sees of a failure is a kube Status in JSON that names no
//     address (package apistatus).
//   - No metric's label is a client's or a tenant's choice (package metrics,
//     docs/metrics.md).
//
// Some paths are in no mapping file: /livez, /healthz and /readyz (package healthz); /metrics,
// /statusz, /flagz and /debug/explain, which the proxy answers itself (localendpoints.go); with
// login discovery, protected resource metadata (login.go); below each workspace /debug/explain
// (explain.go) and /debug/authentication (configurationspage.go); when switched on,
// /shards/<shard>/services/, the virtual workspaces of every shard; and /services/admin, kcp's
// Admin workspace, on any shard, if the mapping file has no entry there and one for /clusters/
// that does not pass credentials through (package routing).
//
// Streams are decided about again while they run (recheck.go).
//
// Wrinkles:
//
//   - httputil.ReverseProxy cleans the query in Rewrite mode; the proxy puts back
//     what came. It does not forward request trailers' values; the proxy drops
//     their announcement as well.
//   - Outgoing URLs carry the path in Opaque, because URL.EscapedPath re-encodes
//     some bytes that clients send.
//   - Upgrades need HTTP/1.1 upstream, and Go chooses that by itself for
//     websocket only; so they go the way of requests with a connection of their own
//     (package upstream).
package proxy
