// Package fairqueue bounds the calls to a server that many callers share, and
// shares what the bounds allow among the callers.
package fairqueue
