// Package requestinfo reads a request's properties as a Kubernetes API server does: its verb, whether
// it is long-running, whether it asks for an upgrade, and whether its length has only one reading.
// It avoids the allocations of apiserver's RequestInfo, because it runs for every request.
//
// It must not know what happens to the request: neither where it goes nor who counts it.
package requestinfo
