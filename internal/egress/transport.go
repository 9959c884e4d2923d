package egress

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// What a server that a tenant chose may cost while it answers. A body has no limit
// here: who reads it has one, or passes it on as it comes.
const (
	// MaxHeaderBytes bounds the headers of an answer, its trailers, and all of its
	// informational answers together. API servers send a few hundred bytes.
	MaxHeaderBytes = 64 << 10
	// MaxHeaderFields is how many fields the headers of an answer may have, and all
	// of its informational answers together.
	MaxHeaderFields = 256
	// MaxInformational is how many informational answers (1xx) may come before one:
	// a 100 and a few hints do.
	MaxInformational = 8

	handshakeTimeout = 10 * time.Second
	// headerTimeout is from the request's last byte to the last one of the answer's
	// headers. API servers end what is no stream after 60 s, and send a stream's
	// headers at once.
	headerTimeout = 80 * time.Second
	// idleTimeout is below the 90 s of API servers, so that none closes a connection
	// that is about to be used.
	idleTimeout = 80 * time.Second
	// continueTimeout is net/http's own for servers that do not know "Expect:
	// 100-continue": the body is sent without a word from them.
	continueTimeout = time.Second
	// A connection that has been silent for pingAfter is pinged, and given up when
	// that is not answered, or nothing can be written, for stallTimeout.
	pingAfter    = 15 * time.Second
	stallTimeout = 10 * time.Second
	// streamBuffer is how much of an HTTP/2 answer's body may wait for its reader.
	streamBuffer = 256 << 10
)

// LimitTransport sets the limits of transports to servers that a tenant chose:
// every transport that may lead to one has them, and sends its requests by
// LimitAnswers. It leaves dialling, TLS, the numbers of connections and the
// protocols as they are, and must be called before t is used.
func LimitTransport(t *http.Transport) {
	t.TLSHandshakeTimeout = handshakeTimeout
	t.MaxResponseHeaderBytes = MaxHeaderBytes
	t.ResponseHeaderTimeout = headerTimeout
	t.ExpectContinueTimeout = continueTimeout
	t.IdleConnTimeout = idleTimeout
	t.HTTP2 = &http.HTTP2Config{
		SendPingTimeout:           pingAfter,
		PingTimeout:               stallTimeout,
		WriteByteTimeout:          stallTimeout,
		MaxReceiveBufferPerStream: streamBuffer,
	}
}

// LimitAnswers is transport, with the limits that net/http has no setting for: the
// number of header fields, and of informational answers, which are without any
// limit for whoever looks at them, as httputil.ReverseProxy does. An answer beyond
// them is an error that wraps ErrAnswer.
//
// It takes the httptrace.ClientTrace of a request for its own.
func LimitAnswers(transport http.RoundTripper) http.RoundTripper {
	return limitedAnswers{transport}
}

// ErrAnswer is wrapped by the errors about answers beyond the limits.
var ErrAnswer = errors.New("the answer is too large")

type limitedAnswers struct{ transport http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limitedAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(r.Context())
	if trace == nil {
		trace = &httptrace.ClientTrace{}
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	}
	// Of two hooks that WithClientTrace puts together only the older one's error
	// counts, so this one is put around it.
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

// informational counts the informational answers to one request.
type informational struct {
	next                   func(int, textproto.MIMEHeader) error // nil: nobody else looks at them
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
