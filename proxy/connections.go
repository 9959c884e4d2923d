package proxy

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/klog/v2"
)

// connections is a listener with a bound on the connections that are open at a time. Further
// connections are closed before a handshake. Left in the backlog, a client would hang; accepted,
// it would take a descriptor that shard connections need.
type connections struct {
	net.Listener
	most          int64 // 0: no bound
	log           klog.Logger
	lines         *rate.Limiter // of the log, about refused connections
	open, refused atomic.Int64
	progress      time.Duration // for how long a client may not read
	heads         *heads

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
		l.refused.Add(1)
		_ = conn.Close()
		if l.lines.Allow() {
			l.log.Info("Rejecting new client connections: limit reached", "most", l.most, "flag", "--max-connections")
		}
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
}

func (c *connection) Write(b []byte) (int, error) {
	if c.tunnel.Load() {
		return c.Conn.Write(b) //nolint:wrapcheck // a net.Conn's
	}
	c.writing.begin()
	n, err := c.Conn.Write(b)
	return n, cmp.Or(c.writing.end(n), err)
}

// liftProgressDeadline lets a client's connection, which net/http has given away, wait for as
// long as its client likes.
func liftProgressDeadline(conn net.Conn) {
	if c := connectionOf(conn); c != nil {
		c.tunnel.Store(true)
	}
}

// connectionOf returns the connection below conn, which is net/http's; nil: there is none.
func connectionOf(conn net.Conn) *connection {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, _ := conn.(*connection)
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
		c.releaseHead(true)
		c.writing.stop()
	}
	return c.Conn.Close()
}
