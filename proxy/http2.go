package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"net/http"
	"time"
)

// shortenHTTP2Stack lets s call its handler over HTTP/2 without the two that net/http puts
// before it: they need 0.6 KB of the stack that each watch keeps, and without
// them half a stack is enough. One sets Request.TLS where HTTP/2 has not, as direct
// does; the other answers OPTIONS *, which s leaves to the handler.
//
// Where net/http does not set HTTP/2 up in TLSNextProto, nothing is changed.
func shortenHTTP2Stack(s *http.Server) {
	none := newConnListener(nil)
	none.close()
	_ = s.Serve(none) // sets HTTP/2 up, as ServeTLS would; its error is ServeTLS' to return
	serve := s.TLSNextProto["h2"]
	if serve == nil {
		return
	}
	s.TLSNextProto["h2"] = func(s *http.Server, c *tls.Conn, h http.Handler) {
		if from, ok := h.(connectionContext); ok {
			h = &direct{s.Handler, from, c}
		}
		serve(s, c, h)
	}
}

// connectionContext is how net/http tells HTTP/2 a connection's context.
type connectionContext interface{ BaseContext() context.Context }

// direct is the handler of one HTTP/2 connection.
type direct struct {
	handler http.Handler
	connectionContext
	conn *tls.Conn
}

func (d *direct) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		d.setTLS(r)
	}
	d.handler.ServeHTTP(w, r)
}

// setTLS is for clients that say another scheme than https.
//
//go:noinline // for its stack
func (d *direct) setTLS(r *http.Request) {
	state := d.conn.ConnectionState()
	r.TLS = &state
}

// http2Writer is the ResponseWriter of an HTTP/2 stream. A client that grants no flow
// control window can stall one stream while its connection makes progress. Answers over
// HTTP/1.1 have the deadline of their connection (connections.go).
type http2Writer struct {
	http.ResponseWriter
	progressDeadline
	unflushed bool // net/http may hold bytes of the answer
}

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

// Unwrap is for http.ResponseController.
func (s *http2Writer) Unwrap() http.ResponseWriter { return s.ResponseWriter }
