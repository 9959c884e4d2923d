// Package fairqueue limits the calls to a server that many callers share, and divides the
// available calls fairly among the callers.
package fairqueue
