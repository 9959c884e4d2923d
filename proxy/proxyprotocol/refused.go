package proxyprotocol

import (
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/klog/v2"
)

// Refused counts and logs connections of load balancers that did not say who the client is.
type Refused struct {
	n     atomic.Int64
	log   klog.Logger
	lines *rate.Limiter
}

// NewRefused has counted none yet.
func NewRefused(log klog.Logger) *Refused {
	return &Refused{log: log, lines: rate.NewLimiter(rate.Every(time.Minute), 1)}
}

// Count is how many there have been since the start.
func (r *Refused) Count() int64 { return r.n.Load() }

// Add counts a connection from peer. A health check that connects and says nothing is one, too.
func (r *Refused) Add(peer net.Addr, err error) {
	r.n.Add(1)
	if r.lines.Allow() {
		r.log.Info("Closed a load balancer's connection that did not begin with a PROXY protocol header; at most one of these lines a minute",
			"peer", peer.String(), "reason", err.Error(), "flag", "--proxy-protocol-trusted-cidrs")
	}
}
