// Package fairqueue limits the calls to a server that many callers share, and divides the
// available calls fairly among the callers.
//
// It must not know what a call does or who its callers are: it gets functions and names.
package fairqueue
