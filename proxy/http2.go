package proxy

import (
	"cmp"
	"net/http"
	"time"
)

// http2Writer is the ResponseWriter of an HTTP/2 stream. A client that grants no flow
// control window can stall one stream while its connection makes progress. Answers over
// HTTP/1.1 have the deadline of their connection (connections.go).
type http2Writer struct {
	http.ResponseWriter
	progressDeadline
	unflushed bool // net/http may hold bytes of the answer
}

// ownAnswerTimeout is how long a client may keep net/http from sending an answer for which nobody is
// charged. Over HTTP/2, it is one that net/http gives by itself, because the request is malformed or
// its headers are too large; over HTTP/1.1, one to a request with a body that the proxy does not read.
const ownAnswerTimeout = 5 * time.Second

func (s *http2Writer) Write(b []byte) (int, error) {
	s.unflushed = true
	s.begin()
	n, err := s.ResponseWriter.Write(b)
	return n, cmp.Or(s.end(n), err)
}

// FlushError is what http.ResponseController calls.
func (s *http2Writer) FlushError() error {
	s.unflushed = false
	s.begin()
	err := http.NewResponseController(s.ResponseWriter).Flush()
	return cmp.Or(s.end(0), err)
}

func (s *http2Writer) Flush() { _ = s.FlushError() }

// boundLastFlush bounds the sending of what net/http still holds when the handler returns, 4 KiB at
// most: the stream of a client that does not take it in time is reset. To flush it here would need
// a further frame for the end of the stream, which costs more than the deadline
// (docs/performance.md).
func (s *http2Writer) boundLastFlush() {
	_ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(time.Now().Add(s.timeout))
}

const (
	// maxTrailers is how much memory the names of the trailers that a request announces may take, in
	// bytes. They are kept until the stream ends, and nobody is charged for them.
	maxTrailers = 4 << 10
	// maxHTTP2Trailers is how large the trailers may be over HTTP/2, in bytes: each byte may stand
	// for a field, which takes some 20 bytes of memory. Over HTTP/1.1, net/http itself reads 4 KiB at most.
	maxHTTP2Trailers = 512
)

// sizeOfTrailers is what the names of the trailers that r announces take in memory, in bytes.
func sizeOfTrailers(r *http.Request) (bytes int) {
	for name := range r.Trailer {
		bytes += len(name) + headerOverhead
	}
	return bytes
}

// forget drops the large parts of a request that has been served: net/http keeps the request until
// its answer is sent, and by then nobody is charged for it.
func forget(r *http.Request) {
	_ = r.Body.Close() // drops what has arrived of it
	forgetHead(r)
}

func forgetHead(r *http.Request) {
	r.URL, r.Header, r.Host, r.RequestURI = nil, nil, "", ""
}

// Unwrap is for http.ResponseController.
func (s *http2Writer) Unwrap() http.ResponseWriter { return s.ResponseWriter }
