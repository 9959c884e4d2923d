package proxy

import (
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/klog/v2"
)

// refusedHeaders are connections of load balancers that did not say who the client is.
type refusedHeaders struct {
	n     atomic.Int64 // since the start
	log   klog.Logger
	lines *rate.Limiter
}

func newRefusedHeaders(log klog.Logger) *refusedHeaders {
	return &refusedHeaders{log: log, lines: rate.NewLimiter(rate.Every(time.Minute), 1)}
}

// add counts a connection from peer. A health check that connects and says nothing is one, too.
func (h *refusedHeaders) add(peer net.Addr, err error) {
	h.n.Add(1)
	if h.lines.Allow() {
		h.log.Info("Closed a load balancer's connection that did not begin with a PROXY protocol header; at most one of these lines a minute",
			"peer", peer.String(), "reason", err.Error(), "flag", "--proxy-protocol-trusted-cidrs")
	}
}
