// Package http2conn passes connections to net/http's HTTP/2 that are not *tls.Conn themselves: ones
// that look at what TLS has decrypted.
package http2conn

import (
	"crypto/tls"
	"net"
)

// Protocol is the key of TLSNextProto, of a server or a transport, whose function takes what Wrap
// returns. net/http adds it where it adds "h2". It is an internal agreement of net/http and
// golang.org/x/net/http2.
const Protocol = "unencrypted_http2"

// Wrap passes conn to a function that takes a *tls.Conn. under has conn's addresses.
func Wrap(under *tls.Conn, conn net.Conn) *tls.Conn { return tls.Client(wrapped{under, conn}, nil) }

type wrapped struct {
	net.Conn
	conn net.Conn
}

// UnencryptedNetConn is called by net/http.
func (w wrapped) UnencryptedNetConn() net.Conn { return w.conn }
