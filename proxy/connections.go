package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"hash/maphash"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/klog/v2"

	"frontproxy/internal/clientaddr"
)

// connections is a listener with a bound on the connections that are open at a time. Further
// connections are closed before a handshake. Left in the backlog, a client would hang; accepted,
// it would take a descriptor that shard connections need.
//
// One client's address cannot take them all: it may have addressShare times as many connections as
// are free. So an address alone may have 8 of 9, and the next one 8 of 9 of what is left. The share is
// that large because all clients may have the same address: that of a NAT or a load balancer.
type connections struct {
	net.Listener
	most          int64 // 0: no bound
	log           klog.Logger
	lines         *rate.Limiter // of the log, about refused connections
	open, refused atomic.Int64
	progress      time.Duration // for how long a client may not read
	heads         *heads

	// byAddress counts the open connections of each address, by hash: two addresses that share a
	// counter share their places.
	byAddress   [1 << 12]atomic.Int64
	addressSeed maphash.Seed

	// withoutHeader counts connections of load balancers that did not say who the client is.
	// headerLines limits the log lines about these.
	withoutHeader atomic.Int64
	headerLines   *rate.Limiter
}

func (l *connections) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if n := l.open.Add(1); l.most == 0 || n <= l.most {
			c := &connection{Conn: conn, of: l}
			c.writing.timeout, c.writing.quota, c.writing.cut = l.progress, progressBytes, func() { _ = conn.SetWriteDeadline(past) }
			return c, nil
		}
		l.open.Add(-1)
		_ = conn.Close()
		l.refuse("Rejecting new client connections: limit reached")
	}
}

const addressShare = 8

// refuse counts and logs that a connection is not served.
func (l *connections) refuse(message string, details ...any) {
	l.refused.Add(1)
	if l.lines.Allow() {
		l.log.Info(message, append(details, "most", l.most, "flag", "--max-connections")...)
	}
}

// refuseHeader counts a load balancer's connection from peer that did not say who the client is. A
// health check that connects and says nothing is one, too.
func (l *connections) refuseHeader(peer net.Addr, err error) {
	l.withoutHeader.Add(1)
	if l.headerLines.Allow() {
		l.log.Info("Closed a load balancer's connection that did not begin with a PROXY protocol header; at most one of these lines a minute",
			"peer", peer.String(), "reason", err.Error(), "flag", "--proxy-protocol-trusted-cidrs")
	}
}

// connection is a client's. It counts as open until it is closed. The client must read what it is
// sent, and its address is charged for request heads that are unfinished.
type connection struct {
	net.Conn
	of      *connections
	closed  atomic.Bool
	writing progressDeadline // TLS writes one record at a time
	tunnel  atomic.Bool
	head    head
	// ofAddress is the counter of the client's address. The connection counts there from its first
	// Read until it is closed.
	ofAddress atomic.Pointer[atomic.Int64]
	known     bool // Read has been called; only one goroutine at a time calls it
}

// Read implements net.Conn.
func (c *connection) Read(b []byte) (int, error) {
	if !c.known {
		c.known = true
		if err := c.countAddress(); err != nil {
			return 0, err
		}
	}
	return c.readHead(b)
}

// countAddress counts the connection for its client's address, and fails if that has as many as it
// may. It is not called before the first Read, because a load balancer says only then which
// address that is.
func (c *connection) countAddress() error {
	l := c.of
	if l.most == 0 {
		return nil
	}
	client := c.RemoteAddr().String()
	n := l.counter(client)
	mine := n.Add(1)
	c.ofAddress.Store(n)
	if c.closed.Load() {
		c.uncountAddress()
	}
	open := min(l.open.Load(), l.most) // for a moment, Accept counts a connection that it is about to refuse
	if mine <= addressShare*(1+l.most-open) {
		return nil
	}
	l.refuse("Rejecting new client connections of an address that has most of those that may be open", "client", client)
	return errors.New("the client's address has as many connections as it may")
}

// counter is where connections of a client are counted, which is its address and port.
func (l *connections) counter(client string) *atomic.Int64 {
	address, _ := clientaddr.Of(client)
	return &l.byAddress[maphash.Comparable(l.addressSeed, address)%uint64(len(l.byAddress))]
}

func (c *connection) uncountAddress() {
	if n := c.ofAddress.Swap(nil); n != nil {
		n.Add(-1)
	}
}

func (c *connection) Write(b []byte) (int, error) {
	if c.tunnel.Load() {
		return c.Conn.Write(b) //nolint:wrapcheck // a net.Conn's
	}
	c.writing.begin()
	n, err := c.Conn.Write(b)
	return n, cmp.Or(c.writing.end(n), err)
}

// tunnel is a client's connection that net/http has given away for an upgrade.
type tunnel struct {
	*tls.Conn
	below *connection
}

// newTunnel lets conn wait for as long as its client likes.
func newTunnel(conn net.Conn) net.Conn {
	t, ok := conn.(*tls.Conn)
	c := connectionOf(conn)
	if !ok || c == nil {
		return conn
	}
	c.tunnel.Store(true)
	c.head.inBody.Store(false)
	return tunnel{t, c}
}

// Read implements net.Conn.
func (t tunnel) Read(b []byte) (int, error) {
	t.below.head.read.Store(0)
	return t.Conn.Read(b) //nolint:wrapcheck // a net.Conn's
}

// connectionOf returns the connection below conn, which is net/http's; nil: there is none.
func connectionOf(conn net.Conn) *connection {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, _ := conn.(*connection)
	return c
}

// connectionKey is the key of a request's *connection in its context.
type connectionKey struct{}

// connContext is the server's ConnContext.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, connectionOf(conn))
}

// requestConnection returns the connection that r came over, or nil for a test's request.
func requestConnection(r *http.Request) *connection {
	c, _ := r.Context().Value(connectionKey{}).(*connection)
	return c
}

// connState is the server's ConnState. Over HTTP/1.1, a connection becomes active when the head of a
// request is complete, and idle when the request is over.
func connState(conn net.Conn, state http.ConnState) {
	c := connectionOf(conn)
	switch {
	case c == nil: // HTTP/2
	case state == http.StateNew || state == http.StateIdle:
		c.beginHead()
	case state == http.StateActive:
		c.endHead()
	}
}

// Close implements net.Conn; it may be called again.
func (c *connection) Close() error {
	if !c.closed.Swap(true) {
		c.of.open.Add(-1)
		c.uncountAddress()
		c.releaseHead(true)
		c.writing.stop()
	}
	return c.Conn.Close()
}
