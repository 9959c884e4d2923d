// Package proxyprotocol reads which client a load balancer passes on, from the PROXY protocol's
// version 2 before TLS begins. Only the balancers' addresses are believed, and they must send a
// header. The bytes of all others are left alone, so that a header from them ends the TLS
// handshake.
//
// Nothing is read in Accept: a connection reads its header when its address is asked for, or at
// its first Read or Write, in the goroutine that serves it.
//
// It must not know what the connections carry, TLS or HTTP.
//
// The source of the format is https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt,
// section 2.2.
package proxyprotocol

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// headerTimeout is how long a balancer may take to send its header, which it sends before
// anything else: enough for a lost packet or two. The library refuses a header above 4 KiB, and
// reads it through a buffer of 256 bytes.
const headerTimeout = 5 * time.Second

// Config says who passes on which clients.
type Config struct {
	// Trusted are the balancers' addresses. IPv4 ones are not mapped to IPv6.
	Trusted []netip.Prefix
	// Refused is called for each connection from Trusted that did not begin with a header
	// that can be used, with its peer's address. Its Reads and Writes fail. Nil: it
	// is not called.
	Refused func(peer net.Addr, err error)
}

// NewListener returns inner with connections whose RemoteAddr is the client's: what the header
// of a trusted peer says, or its own address if the header says LOCAL, as health checks do. It
// owns inner. Without Trusted it is inner itself.
func NewListener(inner net.Listener, c Config) net.Listener {
	if len(c.Trusted) == 0 {
		return inner
	}
	return &listener{refused: c.Refused, Listener: &proxyproto.Listener{
		Listener: inner, ConnPolicy: c.policy, ValidateHeader: validate, ReadHeaderTimeout: headerTimeout,
	}}
}

// policy never fails: an error would end Accept.
func (c *Config) policy(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
	if peer, ok := addressOf(o.Upstream); ok && slices.ContainsFunc(c.Trusted, func(p netip.Prefix) bool { return p.Contains(peer) }) {
		return proxyproto.REQUIRE, nil
	}
	return proxyproto.SKIP, nil
}

func addressOf(a net.Addr) (netip.Addr, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp == nil {
		return netip.Addr{}, false
	}
	ip, ok := netip.AddrFromSlice(tcp.IP)
	return ip.Unmap(), ok
}

// validate refuses what is no version 2 header of a TCP connection from a client.
func validate(h *proxyproto.Header) error {
	if h.Version != 2 {
		return errors.New("the header is of version 1 of the PROXY protocol; the balancer must send version 2")
	}
	if h.Command.IsLocal() {
		return nil
	}
	if h.TransportProtocol != proxyproto.TCPv4 && h.TransportProtocol != proxyproto.TCPv6 {
		return errors.New("the header is not about a TCP connection")
	}
	client, ok := addressOf(h.SourceAddr)
	if !ok || client.IsUnspecified() || client.IsMulticast() {
		return fmt.Errorf("%s is no client's address", h.SourceAddr)
	}
	return nil
}

type listener struct {
	net.Listener
	refused func(net.Addr, error)
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	passed, ok := inner.(*proxyproto.Conn)
	if !ok { // not trusted
		return inner, nil
	}
	c := &conn{Conn: passed}
	c.checked = sync.OnceFunc(func() {
		if passed.ProxyHeader() != nil || l.refused == nil {
			return
		}
		_, err := passed.Read(nil)
		l.refused(passed.Raw().RemoteAddr(), err)
	})
	return c, nil
}

// conn is a balancer's connection.
type conn struct {
	*proxyproto.Conn
	checked func()
}

// RemoteAddr is the client's address. It reads the header.
func (c *conn) RemoteAddr() net.Addr {
	c.checked()
	return c.Conn.RemoteAddr()
}

// LocalAddr is where the balancer connected to, not what the header says: that is an address
// of the balancer's.
func (c *conn) LocalAddr() net.Addr { return c.Raw().LocalAddr() }

func (c *conn) Read(b []byte) (int, error) {
	c.checked()
	return c.Conn.Read(b) //nolint:wrapcheck // a net.Conn's
}

func (c *conn) Write(b []byte) (int, error) {
	c.checked()
	return c.Conn.Write(b) //nolint:wrapcheck // a net.Conn's
}
