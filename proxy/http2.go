package proxy

import (
	"context"
	"crypto/tls"
	"net/http"
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

// ServeHTTP implements http.Handler.
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
