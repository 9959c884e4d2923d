package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
)

// healthChecker finds backends that are frozen or cut off. Without it, requests to them would
// wait for as long as their clients do.
//
// It dials all connections of an upstream, and checks them at every tick:
//
//   - When nothing came back for after since something was written to a connection, the
//     backend is probed with a TLS handshake. So a slow answer is never cut off while the
//     backend's process is alive.
//   - When the handshake has no answer within patience, all connections to the backend are
//     closed. No new one is made until a handshake succeeds; one is tried at every tick.
//   - When a connection cannot be made in time, and nothing was heard of the backend
//     meanwhile, no other is made until a handshake succeeds. Open connections go on.
type healthChecker struct {
	// every is the time between two ticks.
	every, after, patience time.Duration
	config                 func() *tls.Config // for probes, without a server name
	log                    klog.Logger
	dialer                 *net.Dialer
	ticks                  atomic.Int64 // begins at 1: tick 0 means never

	mu    sync.Mutex // guards hosts and what is in them
	hosts map[string]*hostHealth
}

// hostHealth is the state of a backend, which is known by its address.
type hostHealth struct {
	conns   map[*trackedConn]struct{}
	address string
	heard   atomic.Int64 // the tick at which it last sent anything
	probing bool         // a probe is under way
	// suspect: a connection has had no answer for too long. silent: nor had a probe.
	// unreachable: no connection could be made in time.
	suspect, silent, unreachable bool
}

// trackedConn is a connection that is checked.
type trackedConn struct {
	answerConn
	health *healthChecker
	host   *hostHealth
	// waits: its requests may be silent for long, so that silence after an answer is
	// checked, too.
	waits bool
	// since is the tick of the first write that has had no answer; 0: there is none.
	since atomic.Int64
}

// errSilent says that no connection is made to a backend that does not answer.
var errSilent = errors.New("the backend does not respond")

func newHealthChecker(config func() *tls.Config, log klog.Logger) *healthChecker {
	p := &healthChecker{every: time.Second, after: pingAfter, patience: pingTimeout, config: config, log: log, dialer: &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}, hosts: map[string]*hostHealth{}}
	p.ticks.Store(1)
	return p
}

// responds reports whether connections are made to a backend.
func (p *healthChecker) responds(address string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[address]
	return h == nil || !h.silent && !h.unreachable
}

// dialFor returns a transport's DialContext. waits is for connections of watches, which have no
// pings and may be silent for long.
func (p *healthChecker) dialFor(waits bool) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return p.dial(ctx, network, address, waits)
	}
}

func (p *healthChecker) dial(ctx context.Context, network, address string, waits bool) (net.Conn, error) {
	if !p.responds(address) {
		return nil, fmt.Errorf("dial %s: %w", address, errSilent)
	}
	begun := p.ticks.Load()
	conn, err := p.dialer.DialContext(ctx, network, address)
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[address]
	if h == nil {
		h = &hostHealth{conns: map[*trackedConn]struct{}{}, address: address}
		p.hosts[address] = h // forgotten at the next tick unless it is needed
	}
	if err != nil {
		if timedOut(err) && ctx.Err() == nil && !h.unreachable && h.heard.Load() < begun {
			h.unreachable = true
			p.log.Error(err, "Cannot connect to a backend; opening no further connections until it responds", "address", address)
		}
		return nil, err
	}
	h.heard.Store(p.ticks.Load())
	c := &trackedConn{answerConn: answerConn{conn}, health: p, host: h, waits: waits}
	h.conns[c] = struct{}{}
	return c, nil
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func (c *trackedConn) Write(b []byte) (int, error) {
	if c.since.Load() == 0 {
		c.since.Store(c.health.ticks.Load())
	}
	return c.answerConn.Write(b)
}

func (c *trackedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.since.Load() != 0 {
		now, since := c.health.ticks.Load(), int64(0)
		if c.waits {
			since = now
		}
		c.since.Store(since)
		c.host.heard.Store(now)
	}
	return n, err
}

func (c *trackedConn) Close() error {
	c.health.mu.Lock()
	delete(c.host.conns, c)
	c.health.mu.Unlock()
	return c.Conn.Close()
}

// run checks all backends at every tick until ctx ends.
func (p *healthChecker) run(ctx context.Context) {
	var probes sync.WaitGroup
	defer probes.Wait()
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		for _, h := range p.suspects() {
			probes.Go(func() { p.probe(ctx, h) })
		}
	}, p.every)
}

// suspects returns the hosts to probe, and marks them as probing.
func (p *healthChecker) suspects() []*hostHealth {
	now := p.ticks.Add(1)
	late := now - int64(p.after/p.every)
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*hostHealth
	for address, h := range p.hosts {
		if len(h.conns) == 0 && !h.silent && !h.unreachable && !h.probing {
			delete(p.hosts, address)
			continue
		}
		h.suspect = false
		for c := range h.conns {
			since := c.since.Load()
			h.suspect = h.suspect || since != 0 && since <= late
		}
		if (h.suspect || h.silent || h.unreachable) && !h.probing {
			h.probing = true
			all = append(all, h)
		}
	}
	return all
}

// probe tries a handshake with a host, and closes or allows connections accordingly.
func (p *healthChecker) probe(ctx context.Context, h *hostHealth) {
	err := p.handshake(ctx, h.address)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	was, wasUnreachable := h.silent, h.unreachable
	silent := err != nil && (h.suspect || h.silent)
	h.silent, h.unreachable, h.probing = silent, err != nil && h.unreachable, false
	var closing []*trackedConn
	for c := range h.conns {
		if silent {
			closing = append(closing, c)
		} else if err == nil && c.since.Load() != 0 {
			c.since.Store(p.ticks.Load())
		}
	}
	p.mu.Unlock()
	for _, c := range closing {
		_ = c.Close() // its requests fail
	}
	switch {
	case silent && !was:
		p.log.Error(err, "A backend does not respond; closed its connections, and opening none until it does", "address", h.address, "closed", len(closing))
	case err == nil && (was || wasUnreachable):
		p.log.Info("A backend responds again", "address", h.address)
	}
}

// handshake returns an error when the host sends nothing in time. A host that refuses the
// connection or the handshake has sent something.
func (p *healthChecker) handshake(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	config := p.config()
	config.ServerName, _, _ = net.SplitHostPort(address)
	conn, err := (&tls.Dialer{NetDialer: p.dialer, Config: config}).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
		return nil
	}
	if timedOut(err) {
		return fmt.Errorf("no response to a TLS handshake in %v: %w", p.patience, err)
	}
	return nil
}
