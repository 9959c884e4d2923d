package egress

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"frontproxy/internal/http2conn"
)

const (
	// maxRecords is how many bytes of TLS a server may send without any HTTP in them, after its
	// handshake. TLS's own messages may have 256 KiB, and TLS keeps what it has of one. A record has
	// 16 KiB.
	maxRecords = 64 << 10
	// closeTimeout is net/http's for a *tls.Conn over HTTP/2.
	closeTimeout = 250 * time.Millisecond
)

// limitRecords makes t end connections on which more than maxRecords arrive. It dials as net/http
// does itself, but responses have no TLS state. The HTTP/2 transport gets its connections as net/http
// hands over unencrypted ones, which may be any net.Conn. If net/http no longer does so, HTTP/2 has no
// limit, and TestUnfinishedTLSMessages fails.
func limitRecords(t *http.Transport) {
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialTLS(ctx, t, network, address)
	}
	t.CloseIdleConnections() // sets TLSNextProto
	next, plain := t.TLSNextProto["h2"], t.TLSNextProto[http2conn.Protocol]
	if next == nil || plain == nil {
		return
	}
	t.TLSNextProto["h2"] = func(authority string, conn *tls.Conn) http.RoundTripper {
		if below, ok := conn.NetConn().(*rawConn); ok {
			return plain(authority, http2conn.Wrap(conn, newLimitedConn(conn, below)))
		}
		return next(authority, conn)
	}
}

// dialTLS returns a *tls.Conn if the server has chosen HTTP/2, because net/http looks for the protocol
// there, else a limitedConn.
func dialTLS(ctx context.Context, t *http.Transport, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err //nolint:wrapcheck // as net/http returns it
	}
	conn, err := t.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := t.TLSClientConfig.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	below := &rawConn{Conn: conn}
	below.left.Store(math.MaxInt64)
	above := tls.Client(below, config)
	handshake, cancel := context.WithTimeout(ctx, t.TLSHandshakeTimeout)
	defer cancel()
	if err := above.HandshakeContext(handshake); err != nil {
		_ = conn.Close()
		if handshake.Err() != nil && ctx.Err() == nil {
			err = &net.OpError{Op: "TLS handshake", Net: network, Addr: conn.RemoteAddr(), Err: os.ErrDeadlineExceeded}
		}
		return nil, err //nolint:wrapcheck // as net/http returns it
	}
	if above.ConnectionState().NegotiatedProtocol == "h2" {
		return above, nil
	}
	return newLimitedConn(above, below), nil
}

// rawConn is a connection below TLS.
type rawConn struct {
	net.Conn
	left atomic.Int64 // how many bytes may arrive before the next HTTP
}

// Read implements net.Conn.
func (c *rawConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.left.Add(-int64(n)) < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes of TLS without any HTTP", ErrAnswer, maxRecords)
	}
	return n, err //nolint:wrapcheck // a net.Conn's
}

// limitedConn is a TLS connection whose server may send no more than maxRecords at a time.
type limitedConn struct {
	*rawConn // for addresses and deadlines
	// above is nil once the connection is closed. net/http keeps closed HTTP/2 connections for up to
	// IdleConnTimeout, in their timers; TLS's buffers and the server's certificates need not stay.
	above atomic.Pointer[tls.Conn]
}

func newLimitedConn(above *tls.Conn, below *rawConn) *limitedConn {
	c := &limitedConn{rawConn: below}
	c.above.Store(above)
	return c
}

// Read implements net.Conn.
func (c *limitedConn) Read(b []byte) (int, error) {
	if above := c.above.Load(); above != nil {
		c.left.Store(maxRecords)
		return above.Read(b) //nolint:wrapcheck // a net.Conn's
	}
	return 0, net.ErrClosed
}

// Write implements net.Conn.
func (c *limitedConn) Write(b []byte) (int, error) {
	if above := c.above.Load(); above != nil {
		return above.Write(b) //nolint:wrapcheck // a net.Conn's
	}
	return 0, net.ErrClosed
}

// CloseWrite is called for upgraded connections.
func (c *limitedConn) CloseWrite() error {
	if above := c.above.Load(); above != nil {
		return above.CloseWrite() //nolint:wrapcheck // a net.Conn's
	}
	return net.ErrClosed
}

// Close implements net.Conn. TLS says goodbye, for which a server that does not read makes it wait.
func (c *limitedConn) Close() error {
	above := c.above.Swap(nil)
	if above == nil {
		return net.ErrClosed
	}
	defer time.AfterFunc(closeTimeout, func() { _ = c.rawConn.Close() }).Stop()
	return above.Close() //nolint:wrapcheck // a net.Conn's
}
