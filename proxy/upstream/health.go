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

	"k8s.io/klog/v2"
)

// healthChecker notices backends that do not answer, frozen or cut off: without it their
// requests would wait for as long as clients do, or for a connection each.
//
// It dials all connections of an upstream. When something was written to one
// and nothing came back for after, the backend is asked for a TLS handshake,
// which takes none of its requests' time: a slow answer ends nothing as long as
// the process is alive. When not even that is answered within patience, all
// connections to it are closed, and no new ones made until a handshake, tried
// again at every look, succeeds. When a connection could not be made in time, and
// nothing was heard of the backend meanwhile, no others are tried until then
// either, and those there are go on.
type healthChecker struct {
	// every is how often connections are looked at.
	every, after, patience time.Duration
	config                 func() *tls.Config // of handshakes, without a server name
	log                    klog.Logger
	dialer                 *net.Dialer
	ticks                  atomic.Int64 // counted from 1, so that 0 is never

	mu    sync.Mutex // guards hosts and what is in them
	hosts map[string]*hostHealth
}

// hostHealth is a backend by its address.
type hostHealth struct {
	conns   map[*trackedConn]struct{}
	address string
	heard   atomic.Int64 // the look at which it last said anything
	asking  bool
	// doubted: a connection is without an answer for too long. silent: and so was
	// a handshake. unreachable: no connection could be made in time.
	doubted, silent, unreachable bool
}

// trackedConn is a connection that is looked at.
type trackedConn struct {
	net.Conn
	health *healthChecker
	host   *hostHealth
	// waits: it carries what may be silent for long, so that silence after an
	// answer is looked into, too.
	waits bool
	// since is the look before the first write that nothing has followed; 0: all
	// is answered.
	since atomic.Int64
}

// errSilent is why no connection is made to a backend that does not answer.
var errSilent = errors.New("the backend does not respond")

func newHealthChecker(config func() *tls.Config, log klog.Logger) *healthChecker {
	p := &healthChecker{every: time.Second, after: pingAfter, patience: pingTimeout, config: config, log: log, dialer: &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}, hosts: map[string]*hostHealth{}}
	p.ticks.Store(1)
	return p
}

// responds says whether connections are made to a backend.
func (p *healthChecker) responds(address string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[address]
	return h == nil || !h.silent && !h.unreachable
}

// dial is a transport's DialContext.
func (p *healthChecker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := p.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// dialWaiting is a DialContext for connections that wait, as those of watches do,
// without pings.
func (p *healthChecker) dialWaiting(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := p.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.waits = true
	return c, nil
}

func (p *healthChecker) connect(ctx context.Context, network, address string) (*trackedConn, error) {
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
		p.hosts[address] = h // forgotten at the next look unless it is needed
	}
	if err != nil {
		if timedOut(err) && ctx.Err() == nil && !h.unreachable && h.heard.Load() < begun {
			h.unreachable = true
			p.log.Error(err, "Cannot connect to a backend; opening no further connections until it responds", "address", address)
		}
		return nil, err
	}
	h.heard.Store(p.ticks.Load())
	c := &trackedConn{Conn: answerConn{conn}, health: p, host: h}
	h.conns[c] = struct{}{}
	return c, nil
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// Write implements net.Conn.
func (c *trackedConn) Write(b []byte) (int, error) {
	if c.since.Load() == 0 {
		c.since.Store(c.health.ticks.Load())
	}
	return c.Conn.Write(b)
}

// Read implements net.Conn.
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

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.health.mu.Lock()
	delete(c.host.conns, c)
	c.health.mu.Unlock()
	return c.Conn.Close()
}

// run looks until ctx ends.
func (p *healthChecker) run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, h := range p.suspects() {
			asking.Go(func() { p.probe(ctx, h) })
		}
	}
}

// suspects are the hosts to ask, which are marked as being asked.
func (p *healthChecker) suspects() []*hostHealth {
	now := p.ticks.Add(1)
	late := now - int64(p.after/p.every)
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*hostHealth
	for address, h := range p.hosts {
		if len(h.conns) == 0 && !h.silent && !h.unreachable && !h.asking {
			delete(p.hosts, address)
			continue
		}
		h.doubted = false
		for c := range h.conns {
			since := c.since.Load()
			h.doubted = h.doubted || since != 0 && since <= late
		}
		if (h.doubted || h.silent || h.unreachable) && !h.asking {
			h.asking = true
			all = append(all, h)
		}
	}
	return all
}

// probe asks a host for a handshake, and acts on what comes of it.
func (p *healthChecker) probe(ctx context.Context, h *hostHealth) {
	err := p.handshake(ctx, h.address)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	was, wasUnreachable := h.silent, h.unreachable
	silent := err != nil && (h.doubted || h.silent)
	h.silent, h.unreachable, h.asking = silent, err != nil && h.unreachable, false
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

// handshake returns an error when the host says nothing in time. One that
// refuses the connection or the handshake has said something.
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
