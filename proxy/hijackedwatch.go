package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// An HTTP/1.1 connection that carries a watch carries nothing else at the time, and
// net/http keeps more for it than a watch needs: a deep stack, and buffers for requests
// and answers. So after the headers are sent, the connection is taken from net/http
// (hijacked), and a goroutine of its own copies the body in chunks. When the answer has
// ended, net/http gets the connection back, as if it were new (connListener).

// withWatchContext returns r with a context that does not end when the handler returns,
// if r asks for a watch whose connection may be hijacked; else r. The context ends when the client
// disconnects or the answer ends.
func (x *exchange) withWatchContext(r *http.Request) *http.Request {
	if !x.long || r.Method != http.MethodGet || x.upgrade || r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Body != http.NoBody || x.p.config.Audit != nil || x.p.tracer != nil {
		return r
	}
	x.response.watchContext = newWatchContext(r.Context())
	x.rp.Transport = contextTransport{x.rp.Transport, x.response.watchContext}
	return r.WithContext(x.response.watchContext) //nolint:contextcheck // it inherits what matters
}

// contextTransport sends requests with its own context instead of ReverseProxy's, which
// refers to what net/http keeps for the connection. ReverseProxy's is the one that receives
// informational answers (1xx), so these are dropped here.
type contextTransport struct {
	http.RoundTripper
	context context.Context
}

func (t contextTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.RoundTripper.RoundTrip(r.WithContext(t.context))
}

// watchContext is a request's context that goes on when the handler has returned.
type watchContext struct {
	context.Context
	cancel context.CancelFunc
	// keep separates it from the request's own context; false: that has ended already.
	keep func() bool
}

func newWatchContext(of context.Context) *watchContext {
	c := &watchContext{}
	c.Context, c.cancel = context.WithCancel(context.WithoutCancel(of))
	c.keep = context.AfterFunc(of, c.cancel)
	return c
}

func (c *watchContext) end() {
	c.keep()
	c.cancel()
}

// hijack takes the connection from net/http and leaves the rest of the watch to a
// goroutine. False: net/http keeps it.
func (x *exchange) hijack(from *http.ResponseController) bool {
	conn, buffered, err := from.Hijack()
	if err != nil {
		return false
	}
	x.response.watchContext.keep()
	x.p.streams.set.setConn(x.response.watch.stream, conn)
	go x.serveHijacked(conn, buffered.Reader.Buffered() > 0)
	return true
}

// serveHijacked copies the watch and finishes the exchange. It owns both, and the
// connection. more says that the client has sent more than its request.
func (x *exchange) serveHijacked(conn net.Conn, more bool) {
	p, last, whole, given := x.p, x.inbound.Close, false, false
	to := &chunked{Conn: conn}
	defer p.contain() // net/http contains no panic of this goroutine
	defer func() {
		if !given {
			_ = conn.Close()
		}
	}()
	defer func() {
		p.finish(x, nil, x.inbound, recover())
		given = whole && !last && to.silent && p.listeners.reused.put(conn)
	}()
	if !more {
		to.listening = listen(conn, x.response.watchContext.cancel)
	}
	whole = x.response.watch.copy(to) == nil
}

// listen calls gone when the client closes the connection. The function returned
// ends that, and reports whether the client has been silent until now; if it was not,
// what it said is lost.
func listen(conn net.Conn, gone func()) (silent func() bool) {
	heard := make(chan bool, 1)
	go func() {
		n, err := conn.Read(make([]byte, 1))
		quiet := n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
		if n == 0 && !quiet {
			gone()
		}
		heard <- !quiet
	}()
	return func() bool {
		_ = conn.SetReadDeadline(past) // if that fails, so does whatever reads next
		quiet := !<-heard
		_ = conn.SetReadDeadline(time.Time{})
		return quiet
	}
}

// connListener is a listener with the connections that net/http gets back.
type connListener struct {
	net.Listener // whose address it has
	conns        chan net.Conn
	closed       chan struct{}
	close        func()
}

// newConnListener returns one with the address of beside. Closing it does not close beside.
func newConnListener(beside net.Listener) *connListener {
	closed := make(chan struct{})
	return &connListener{beside, make(chan net.Conn), closed, sync.OnceFunc(func() { close(closed) })}
}

// put hands the connection to the server; false: the listener is closed or nil, and the
// caller keeps the connection.
func (r *connListener) put(conn net.Conn) bool {
	if r == nil {
		return false
	}
	select {
	case r.conns <- conn:
		return true
	case <-r.closed:
		return false
	}
}

func (r *connListener) Accept() (net.Conn, error) {
	select {
	case conn := <-r.conns:
		return conn, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

func (r *connListener) Close() error {
	r.close()
	return nil
}

// A chunk's length, in hexadecimal digits, is before it and a line's end after
// it (RFC 9112, section 7.1). Buffers of watches have room for both.
const (
	chunkHead = len("ffff\r\n")
	chunkTail = len("\r\n")
)

// chunked sends a watch in chunks, on a connection that was taken from net/http.
type chunked struct {
	net.Conn
	listening func() (silent bool) // nil: nobody listens
	silent    bool
}

func (c *chunked) send(buf []byte, n int) error {
	const digits = "0123456789abcdef"
	begin := chunkHead - chunkTail
	copy(buf[begin:], "\r\n")
	copy(buf[chunkHead+n:], "\r\n")
	for rest := n; rest > 0; rest >>= 4 {
		begin--
		buf[begin] = digits[rest&0xf]
	}
	_, err := c.Write(buf[begin : chunkHead+n+chunkTail])
	return err
}

func (c *chunked) close(trailer http.Header) error {
	if c.listening != nil {
		c.silent = c.listening() // once the client has the end, it may ask again
	}
	var end strings.Builder
	end.WriteString("0\r\n")
	_ = trailer.Write(&end) // memory
	end.WriteString("\r\n")
	if _, err := io.WriteString(c, end.String()); err != nil {
		return fmt.Errorf("end the response: %w", err)
	}
	return nil
}
