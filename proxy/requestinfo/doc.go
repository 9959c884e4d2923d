// Package requestinfo reads a request's properties as a Kubernetes API server does, with
// apiserver's own code where there is some: its verb, whether it is long-running, whether it asks
// for an upgrade, and whether its length has only one reading.
//
// It must not know what happens to the request: neither where it goes nor who counts it.
package requestinfo
