package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"frontproxy/internal/certs"
)

// Limits on the responses of servers that tenants choose. Bodies have no limit here:
// their reader limits them, or passes them on as they arrive.
const (
	// MaxHeaderBytes bounds the headers of a response, its trailers, and all of its
	// informational responses together. API servers send a few hundred bytes.
	MaxHeaderBytes = 64 << 10
	// MaxHeaderFields bounds the number of header fields in a response, and in all of
	// its informational responses together.
	MaxHeaderFields = 256
	// MaxInformational bounds the informational responses (1xx) before a response: a
	// 100 and a few early hints are enough.
	MaxInformational = 8
	// maxCertificates bounds the memory that a server's certificates take as long as the connection is
	// open, in bytes. A chain of 8 KiB with 100 names is estimated at 80 KiB.
	maxCertificates = 512 << 10
	// certificateByteCost is what each byte of a certificate may take, besides its parts.
	certificateByteCost = 8

	handshakeTimeout = 10 * time.Second
	// headerTimeout is from the last byte of the request to the last byte of the
	// response's headers. API servers end a non-streaming request after 60 s, and
	// send a stream's headers at once.
	headerTimeout = 80 * time.Second
	// idleTimeout is below the 90 s of API servers, so that they do not close a
	// connection that is about to be used.
	idleTimeout = 80 * time.Second
	// continueTimeout is net/http's own, for servers that do not know "Expect:
	// 100-continue": after it, the body is sent without their consent.
	continueTimeout = time.Second
	// A connection that has been silent for pingAfter is pinged. It is closed if
	// there is no answer, or if nothing can be written, for stallTimeout.
	pingAfter    = 15 * time.Second
	stallTimeout = 10 * time.Second
	// StreamBuffer is how much of an HTTP/2 response's body is buffered for its reader,
	// in bytes: the window that RFC 9113 begins with. What a client does not read, an
	// upstream can't send.
	StreamBuffer = 64 << 10
)

// LimitTransport sets the limits of a transport to servers that tenants choose. Every
// transport that may lead to such a server must have them, and send its requests
// through LimitAnswers. LimitTransport changes neither the number of connections nor the
// protocols. It wraps DialContext and replaces TLSClientConfig, which must be set before, as
// Protocols must, and that configuration's VerifyConnection. Call it before t is used. A transport
// with HTTP/2 must not be used for upgrades then.
func LimitTransport(t *http.Transport) {
	t.DialContext = limitBuffers(t.DialContext)
	t.TLSClientConfig = limitCertificates(t.TLSClientConfig)
	t.TLSHandshakeTimeout = handshakeTimeout
	t.MaxResponseHeaderBytes = MaxHeaderBytes
	t.ResponseHeaderTimeout = headerTimeout
	t.ExpectContinueTimeout = continueTimeout
	t.IdleConnTimeout = idleTimeout
	t.HTTP2 = &http.HTTP2Config{
		SendPingTimeout:           pingAfter,
		PingTimeout:               stallTimeout,
		WriteByteTimeout:          stallTimeout,
		MaxReceiveBufferPerStream: StreamBuffer,
	}
	limitRecords(t)
}

// limitCertificates returns a configuration that refuses servers whose certificates take too much
// memory. Whoever signed the first one, any others may come with it. A nil config is the zero one.
func limitCertificates(config *tls.Config) *tls.Config {
	limited := config.Clone()
	if limited == nil {
		limited = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	limited.VerifyConnection = func(state tls.ConnectionState) error {
		size := certs.SizeOfParts(&state)
		for _, c := range state.PeerCertificates {
			size += int64(len(c.Raw)) * certificateByteCost
		}
		if size > maxCertificates {
			return errCertificates
		}
		return nil
	}
	return limited
}

var errCertificates = fmt.Errorf("%w: the server's certificates take more memory than those of a usual server", ErrAnswer)

// limitBuffers returns a DialContext whose connections have StreamBuffer bytes in the
// kernel for what is not read yet, which would grow to several MiB otherwise
// (net.ipv4.tcp_rmem). A nil dial is net.Dialer's.
func limitBuffers(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if c, ok := conn.(syscall.Conn); ok {
			if raw, err := c.SyscallConn(); err == nil { // else the kernel's own limit holds
				_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, StreamBuffer) })
			}
		}
		return conn, err
	}
}

// LimitAnswers returns transport with the limits for which net/http has no setting:
// the number of header fields and of informational responses. net/http does not limit
// the latter for callers that inspect them, as httputil.ReverseProxy does. A response
// beyond the limits is an error that wraps ErrAnswer.
//
// It uses the httptrace.ClientTrace of a request itself.
func LimitAnswers(transport http.RoundTripper) http.RoundTripper {
	return limitedAnswers{transport}
}

// ErrAnswer is wrapped by errors about responses beyond the limits.
var ErrAnswer = errors.New("the answer is too large")

type limitedAnswers struct{ transport http.RoundTripper }

func (l limitedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	if trace == nil {
		trace = &httptrace.ClientTrace{}
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	}
	// If WithClientTrace combines two hooks, only the error of the older one counts,
	// so this hook wraps the other one.
	seen := informational{next: trace.Got1xxResponse}
	trace.Got1xxResponse = seen.got
	res, err := l.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if n := fields(res.Header); n > MaxHeaderFields {
		_ = res.Body.Close()
		return nil, fmt.Errorf("%w: %d header fields, of at most %d", ErrAnswer, n, MaxHeaderFields)
	}
	return res, nil
}

// informational counts the informational responses to one request.
type informational struct {
	next                   func(int, textproto.MIMEHeader) error // nil: there is no other hook
	answers, fields, bytes int
}

func (i *informational) got(code int, header textproto.MIMEHeader) error {
	i.answers++
	i.fields += fields(http.Header(header))
	for key, values := range header {
		for _, value := range values {
			i.bytes += len(key) + len(value) + len(": \r\n")
		}
	}
	if i.answers > MaxInformational || i.fields > MaxHeaderFields || i.bytes > MaxHeaderBytes {
		return fmt.Errorf("%w: %d informational responses with %d header fields in %d bytes, limits %d, %d and %d", ErrAnswer,
			i.answers, i.fields, i.bytes, MaxInformational, MaxHeaderFields, MaxHeaderBytes)
	}
	if i.next == nil {
		return nil
	}
	return i.next(code, header)
}

func fields(header http.Header) int {
	n := 0
	for _, values := range header {
		n += len(values)
	}
	return n
}
