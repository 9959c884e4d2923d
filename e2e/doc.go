// Package e2e has the tests of the built binary against a real kcp: two
// shards, a cache server and bin/front-proxy, started once by TestMain and
// shared by all tests, each of which makes its own workspaces, types and
// issuers.
//
// Who a request was taken for is judged by the shard: by its answer to a
// SelfSubjectReview ("whoami"), and for upgraded connections, which cannot ask
// that, by the shard's audit log.
//
// Wrinkles:
//   - kcp has no pods, so kubectl exec and its SPDY upgrade cannot be had from
//     it; upgrades are watches over WebSocket. SPDY is tested in proxy/ with a
//     stand-in shard.
//   - A test that stops a shard or the proxy is not parallel: the testing
//     package then runs it while no other test runs.
//   - FRONT_PROXY_E2E_WATCH makes the long watch test run for another time
//     than half a minute, for example 10m.
//   - FRONT_PROXY_E2E_KCP=0.31 runs the tests on the older of the kcps that the
//     repository builds. What one has and the other lacks is asked of its
//     programs' help; a test then shows that the older one lacks it.
//   - FRONT_PROXY_E2E_INCUMBENT=true runs the tests against kcp's own
//     kcp-front-proxy, to see what is new; many fail.
package e2e
