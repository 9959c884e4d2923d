package upstream

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// maxHeader bounds an answer's headers, in bytes; net/http's own default.
	maxHeader = 10 << 20
	// checkIdleEvery is how often idle connections are checked.
	checkIdleEvery = 10 * time.Second
)

// http1 is an HTTP/1.1 client for requests that have no body and that may be sent again (RFC
// 9110, section 9.2.2). It writes a request and reads the answer in the caller's goroutine.
// http.Transport passes each request to two goroutines of the connection and back, which costs a
// seventh of all that the proxy spends on a small request (docs/performance.md).
//
// A connection carries one request at a time. It is used again when an answer has been read to
// its end and nothing follows it. It is closed when its request's context ends, its answer is wrong
// or not read to its end, it has been idle for idleTimeout, too many are idle, the healthChecker
// gives the server up, or the credentials have changed.
type http1 struct {
	dial    DialFunc // its connections are syscall.Conns, else none is used again
	tls     *tls.Config
	buffers sync.Pool // *bytes.Buffer, for requests as they are sent

	mu       sync.Mutex
	idle     []*http1Conn // at most maxIdleConns, in the order in which they became idle
	checking bool         // checkIdle will be called; so it is while a connection is idle
	closed   bool         // no connection is kept any more
}

// newHTTP1 returns a client that makes its connections with dial and config, and owns config.
func newHTTP1(dial DialFunc, config *tls.Config) *http1 {
	config.NextProtos = []string{"http/1.1"}
	return &http1{dial: dial, tls: config}
}

// carries reports whether h can send r.
func (h *http1) carries(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.Body == nil || r.Body == http.NoBody) && r.URL.Scheme == "https"
}

// RoundTrip sends a request that h carries. It fails where http.Transport would, and if the status
// is 101 or below 100.
func (h *http1) RoundTrip(r *http.Request) (*http.Response, error) {
	if cause := context.Cause(r.Context()); cause != nil {
		return nil, cause // else the request would be given a connection, which its end closes
	}
	if err := checkHeader(r.Header); err != nil {
		return nil, err
	}
	address := r.URL.Host
	if r.URL.Port() == "" {
		address = net.JoinHostPort(r.URL.Hostname(), "443")
	}
	address, err := httpguts.PunycodeHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%q is no host: %w", r.URL.Host, err)
	}
	// Written here, so that a request that cannot be written costs no connection.
	request, _ := h.buffers.Get().(*bytes.Buffer)
	if request == nil {
		request = new(bytes.Buffer)
	}
	defer h.buffers.Put(request)
	request.Reset()
	if err := r.Write(request); err != nil {
		return nil, err
	}
	if c := h.takeIdle(address); c != nil {
		res, err := c.roundTrip(r, request.Bytes())
		if err == nil || c.answered || r.Context().Err() != nil {
			return res, err
		}
		// The server has probably closed the connection while it was idle, so the request is sent
		// once more. That is on a new connection: if the server closed it because of the request,
		// the other idle ones would be lost, too.
	}
	c, err := h.connect(r.Context(), address)
	if err != nil {
		return nil, err
	}
	return c.roundTrip(r, request.Bytes())
}

// checkHeader refuses what http.Transport refuses: on the wire it would read as another header than
// the one meant.
func checkHeader(header http.Header) error {
	for name, values := range header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("invalid header field name %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("invalid header field value for %q", name) // the value may be a secret
			}
		}
	}
	return nil
}

// connect makes a connection. If ctx ends first, the connection is still made, as in http.Transport,
// and becomes idle: else requests with little time would never get one from a slow server, and the
// healthChecker would not learn that none can be made.
func (h *http1) connect(ctx context.Context, address string) (*http1Conn, error) {
	type outcome struct {
		c   *http1Conn
		err error
	}
	made := make(chan outcome)
	go func() {
		c, err := h.dialTLS(context.WithoutCancel(ctx), address)
		select {
		case made <- outcome{c, err}:
		case <-ctx.Done():
			if err == nil {
				h.putIdle(c)
			}
		}
	}()
	select {
	case o := <-made:
		return o.c, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (h *http1) dialTLS(ctx context.Context, address string) (*http1Conn, error) {
	raw, err := h.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	config := h.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address)
	polled := &polledConn{Conn: raw}
	c := &http1Conn{client: h, address: address, polled: polled, tls: tls.Client(polled, config), left: maxHeader}
	c.r = bufio.NewReader(c)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := c.tls.HandshakeContext(ctx); err != nil {
		c.close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", address, err)
	}
	return c, nil
}

// takeIdle returns the connection to address that became idle last and can still be used, and
// closes those that cannot; nil: there is none.
func (h *http1) takeIdle(address string) *http1Conn {
	for {
		c := h.popIdle(address)
		if c == nil || time.Since(c.since) < idleTimeout && c.quiet() {
			return c
		}
		c.close()
	}
}

func (h *http1) popIdle(address string) *http1Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range slices.Backward(h.idle) {
		if c.address == address {
			h.idle = slices.Delete(h.idle, i, i+1)
			return c
		}
	}
	return nil
}

// putIdle keeps a connection for the next request. If maxIdleConns are idle, the one that has been
// idle longest is closed.
func (h *http1) putIdle(c *http1Conn) {
	c.since = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		c.close()
		return
	}
	if len(h.idle) == maxIdleConns {
		h.idle[0].close()
		h.idle = slices.Delete(h.idle, 0, 1)
	}
	h.idle = append(h.idle, c)
	h.checkLater()
}

// checkLater lets checkIdle be called, unless it will be. The caller holds mu.
func (h *http1) checkLater() {
	if !h.checking {
		h.checking = true
		time.AfterFunc(checkIdleEvery, func() { h.checkIdle(time.Now()) })
	}
}

// checkIdle closes the connections that have been idle for idleTimeout, and those that their
// server has closed.
func (h *http1) checkIdle(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = slices.DeleteFunc(h.idle, func(c *http1Conn) bool {
		if now.Sub(c.since) < idleTimeout && c.quiet() {
			return false
		}
		c.close()
		return true
	})
	if h.checking = false; len(h.idle) > 0 {
		h.checkLater()
	}
}

// close closes the idle connections, and the others as soon as their answers have ended.
func (h *http1) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, c := range h.idle {
		c.close()
	}
	h.idle = nil
}

// http1Conn is a connection of http1. One request at a time has it.
type http1Conn struct {
	client  *http1
	address string
	polled  *polledConn
	tls     *tls.Conn // over polled
	r       *bufio.Reader
	left    int64     // how many bytes may be read: the bound of a header; none while a body is read
	since   time.Time // when it became idle
	// answered: part of the answer has arrived, so the request must not be sent again.
	answered bool
}

// Read implements io.Reader, for r.
func (c *http1Conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errLongHeader
	}
	n, err := c.tls.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

var errLongHeader = fmt.Errorf("the headers of an answer have more than %d bytes", maxHeader)

// close closes c without a word to the server, so it does not wait. It may be called again, and
// while c is used.
func (c *http1Conn) close() { _ = c.polled.Close() }

// quiet reports whether an idle connection can be used again: the server has not closed it and has
// sent nothing more. What it had sent would be taken for the answer to the next request.
func (c *http1Conn) quiet() bool {
	c.polled.polling = true
	_, err := c.r.Peek(1)
	c.polled.polling = false
	return errors.Is(err, errNothingYet)
}

// roundTrip sends request, which is r as written on the wire, and reads the answer's header. The end
// of the body gives c back. After an error c is closed.
func (c *http1Conn) roundTrip(r *http.Request, request []byte) (*http.Response, error) {
	stop := context.AfterFunc(r.Context(), c.close)
	res, err := c.send(r, request)
	if err != nil {
		stop()
		c.close()
		return nil, cmp.Or(context.Cause(r.Context()), err)
	}
	c.left = math.MaxInt64
	body := &http1Body{from: res.Body, request: r, conn: c, stop: stop, reusable: !res.Close}
	if res.Body == http.NoBody {
		body.finish(true)
		return res, nil
	}
	res.Body = body
	return res, nil
}

func (c *http1Conn) send(r *http.Request, request []byte) (*http.Response, error) {
	c.answered, c.left = false, maxHeader
	if _, err := c.tls.Write(request); err != nil {
		return nil, err
	}
	if _, err := c.r.Peek(1); err != nil {
		return nil, err
	}
	c.answered = true
	return c.readHeader(r)
}

// readHeader reads the header of the answer to r, and informational answers before it.
func (c *http1Conn) readHeader(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	for {
		res, err := http.ReadResponse(c.r, r)
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the server switches protocols, which nobody asked for")
		case res.StatusCode < 100: // net/http's server panics when it is passed on
			return nil, fmt.Errorf("the server answers with the status %q", res.Status)
		case res.StatusCode >= 200:
			return res, nil
		}
		if trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// http1Body is the body of an answer. One goroutine reads it; Close may be called by any, also
// during a Read, which it ends.
type http1Body struct {
	from     io.Reader
	request  *http.Request
	conn     *http1Conn
	stop     func() bool // of the AfterFunc that closes conn
	reusable bool
	finished atomic.Bool // conn is no longer this body's
	err      error       // of the last Read
}

func (b *http1Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.finished.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.from.Read(p)
	if err == nil {
		return n, nil
	}
	complete := err == io.EOF //nolint:errorlint // an error that wraps io.EOF is not the end
	if ended := context.Cause(b.request.Context()); ended != nil && !complete {
		err = ended
	}
	b.err = err
	b.finish(complete)
	return n, err
}

func (b *http1Body) Close() error {
	b.finish(false)
	return nil
}

// finish gives up the connection; complete: the answer has been read to its end. If stop is false,
// the context's end is closing the connection already.
func (b *http1Body) finish(complete bool) {
	if b.finished.Swap(true) {
		return
	}
	if b.stop() && complete && b.reusable && b.conn.r.Buffered() == 0 {
		b.conn.client.putIdle(b.conn)
		return
	}
	b.conn.close()
}

// polledConn is a connection that can be read without waiting.
type polledConn struct {
	net.Conn
	// polling: a Read that finds nothing does not wait, but returns errNothingYet.
	polling bool
}

func (c *polledConn) Read(p []byte) (n int, err error) {
	if !c.polling {
		return c.Conn.Read(p)
	}
	conn, ok := c.Conn.(syscall.Conn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	if failed := raw.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), p)
		return true
	}); failed != nil {
		return 0, failed
	}
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return 0, errNothingYet
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// errNothingYet is temporary: after any other error package tls reads no more.
var errNothingYet net.Error = nothingYet{}

type nothingYet struct{}

func (nothingYet) Error() string   { return "nothing to read yet" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }
