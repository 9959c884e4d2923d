// Package requestinfo reads what a request is, as a Kubernetes API server reads it: its
// verb, whether it is long-running, whether it asks for an upgrade, and whether its
// length has one reading. It does so without what apiserver's RequestInfo allocates:
// every request pays for it.
//
// It must not know what becomes of the request: neither where it goes nor who counts it.
package requestinfo
