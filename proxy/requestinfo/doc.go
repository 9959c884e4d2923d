// Package requestinfo reads a request's path and query as a Kubernetes API server
// does, without what its RequestInfo allocates: every request pays for it.
package requestinfo
