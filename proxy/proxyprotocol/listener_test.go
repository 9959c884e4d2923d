package proxyprotocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pires/go-proxyproto"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// header is a version 2 header: command, family, and what follows the length.
func header(command, family byte, rest string) string {
	return signature + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(rest)))) + rest //nolint:gosec // short
}

const (
	v4 = "\xc0\x00\x02\x07\x0a\x00\x00\x01\x30\x39\x01\xbb"                                                                                                    // 192.0.2.7:12345, 10.0.0.1:443
	v6 = " \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\xfd\x0f\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x30\x39\x01\xbb" // [2001:db8::7]:12345
)

var headers = []struct {
	name, header string
	want         string // the client's address; "peer"; "" when the connection is refused
}{
	{"IPv4", header(0x21, 0x11, v4), "192.0.2.7:12345"},
	{"IPv6", header(0x21, 0x21, v6), "[2001:db8::7]:12345"},
	{"IPv4 in IPv6", header(0x21, 0x21, strings.Repeat("\x00", 10)+"\xff\xff\xc0\x00\x02\x07"+strings.Repeat("\x00", 16)+"\x30\x39\x01\xbb"), "192.0.2.7:12345"},
	{"with TLVs", header(0x21, 0x11, v4+"\x04\x00\x01x\x02\x00\x00"), "192.0.2.7:12345"},
	{"with TLVs that are none", header(0x21, 0x11, v4+"\xff\xff\xff"), "192.0.2.7:12345"},
	{"the largest that is read", header(0x21, 0x11, v4+strings.Repeat("x", 4096-12)), "192.0.2.7:12345"},
	{"a health check", header(0x20, 0x00, ""), "peer"},
	{"a health check with addresses", header(0x20, 0x11, v4), "peer"},
	{"a health check with TLVs", header(0x20, 0x00, "\x04\x00\x01x"), "peer"},
	{"loopback", header(0x21, 0x11, "\x7f\x00\x00\x01"+v4[4:]), "127.0.0.1:12345"},
	{"no header", "\x16\x03\x01\x00\x00", ""},
	{"nothing", "", ""},
	{"version 1", "PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n", ""},
	{"version 1, unknown", "PROXY UNKNOWN\r\n", ""},
	{"version 3", header(0x31, 0x11, v4), ""},
	{"another command", header(0x22, 0x11, v4), ""},
	{"no family", header(0x21, 0x00, ""), ""},
	{"UDP", header(0x21, 0x12, v4), ""},
	{"IPv4 without a protocol", header(0x21, 0x10, v4), ""},
	{"IPv6 with a protocol that there is not", header(0x21, 0x2f, v6), ""},
	{"a Unix socket", header(0x21, 0x31, strings.Repeat("x", 216)), ""},
	{"too short for IPv4", header(0x21, 0x11, v4[:11]), ""},
	{"too short for IPv6", header(0x21, 0x21, v4), ""},
	{"too long", header(0x21, 0x11, v4+strings.Repeat("x", 4096)), ""},
	{"as long as can be said", header(0x21, 0x11, v4+strings.Repeat("x", 65535-12)), ""},
	{"half a signature", signature[:7], ""},
	{"half a header", header(0x21, 0x11, v4)[:20], ""},
	{"half its TLVs", header(0x21, 0x11, v4+strings.Repeat("x", 100))[:60], ""},
	{"another signature", "\r\n\r\n\x00\r\nQUIT\r" + header(0x21, 0x11, v4)[12:], ""},
	{"an unspecified address", header(0x21, 0x11, "\x00\x00\x00\x00"+v4[4:]), ""},
	{"a multicast address", header(0x21, 0x11, "\xe0\x00\x00\x01"+v4[4:]), ""},
}

// memory is a connection that has all that its peer sends, and then its end.
type memory struct {
	net.Conn
	peer net.Addr
	in   io.Reader
}

func (m *memory) Write(b []byte) (int, error)     { return len(b), nil }
func (m *memory) Read(b []byte) (int, error)      { return m.in.Read(b) }
func (m *memory) RemoteAddr() net.Addr            { return m.peer }
func (m *memory) LocalAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(10, 1, 1, 1), Port: 443} }
func (m *memory) SetReadDeadline(time.Time) error { return nil }
func (m *memory) Close() error                    { return nil }

// one is a listener with one connection.
type one struct {
	net.Listener
	conn net.Conn
}

func (o *one) Accept() (net.Conn, error) { return o.conn, nil }

var (
	balancers = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("fd00:9::/32")}
	balancer  = &net.TCPAddr{IP: net.IPv4(10, 9, 0, 1), Port: 4444}
)

// accept returns a connection of that peer, and what its refusal said so far.
func accept(t testing.TB, peer net.Addr, sent string) (net.Conn, func() []string) {
	t.Helper()
	var refused []string
	l := NewListener(&one{conn: &memory{peer: peer, in: strings.NewReader(sent)}}, Config{Trusted: balancers, Refused: func(peer net.Addr, err error) {
		refused = append(refused, peer.String()+": "+err.Error())
	}})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c, func() []string { return refused }
}

func TestHeaders(t *testing.T) {
	const rest = "\x16\x03\x01 what the client sends"
	for _, tt := range headers {
		t.Run(tt.name, func(t *testing.T) {
			c, refused := accept(t, balancer, tt.header+rest)
			if tt.want == "" && (strings.HasPrefix(tt.name, "half") || tt.name == "nothing") {
				c, refused = accept(t, balancer, tt.header) // nothing follows
			}
			want := tt.want
			if want == "peer" || want == "" {
				want = balancer.String()
			}
			if got := c.RemoteAddr().String(); got != want {
				t.Errorf("the client is %s, want %s", got, want)
			}
			if got := c.LocalAddr().String(); got != "10.1.1.1:443" {
				t.Errorf("the local address is %s", got)
			}
			for range 2 {
				got, err := io.ReadAll(c)
				switch {
				case tt.want == "" && (err == nil || len(got) > 0):
					t.Errorf("read %q, %v of a connection that is refused", got, err)
				case tt.want != "" && (err != nil || string(got) != rest && len(got) > 0):
					t.Errorf("read %q, %v, want %q", got, err, rest)
				}
			}
			if got := refused(); (len(got) == 1) != (tt.want == "") || len(got) > 1 {
				t.Errorf("told of refusals: %q", got)
			}
			if _, err := c.Write(nil); tt.want == "" && err == nil {
				t.Error("a connection that is refused can be written to")
			}
		})
	}
}

// TestPeers: only the balancers' headers are read; other peers' bytes come as they are.
func TestPeers(t *testing.T) {
	sent := header(0x21, 0x11, v4)
	for _, tt := range []struct {
		name    string
		peer    net.Addr
		trusted bool
	}{
		{"a balancer", balancer, true},
		{"a balancer, at a listener for IPv6, too", &net.TCPAddr{IP: net.ParseIP("::ffff:10.9.1.1"), Port: 1}, true},
		{"a balancer's IPv6", &net.TCPAddr{IP: net.ParseIP("fd00:9::1"), Port: 1}, true},
		{"a client", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, false},
		{"a client's IPv6", &net.TCPAddr{IP: net.ParseIP("fd00:8::1"), Port: 1}, false},
		{"no address", &net.TCPAddr{}, false},
		{"a Unix socket", &net.UnixAddr{Name: "/10.9.0.1:1", Net: "unix"}, false},
		{"an address of no kind", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := accept(t, tt.peer, sent)
			read, _ := io.ReadAll(c)
			got := map[bool]string{true: "believed", false: "as it came"}[len(read) == 0]
			if diff := cmp.Diff(map[bool]string{true: "believed", false: "as it came"}[tt.trusted], got); diff != "" {
				t.Errorf("the header (-want +got):\n%s", diff)
			}
			if !tt.trusted && (c.RemoteAddr() != tt.peer || string(read) != sent) {
				t.Errorf("%s sends %q", c.RemoteAddr(), read)
			}
		})
	}
	inner := &one{}
	if l := NewListener(inner, Config{}); l != inner {
		t.Error("without balancers the listener is not the inner one")
	}
}

// TestSlowHeadersDelayNobody: a balancer's connection that says nothing is accepted like any
// other, and given up after the timeout, however often a byte of its header comes.
func TestSlowHeadersDelayNobody(t *testing.T) {
	for _, trickles := range []bool{false, true} {
		t.Run(map[bool]string{false: "silent", true: "a byte a second"}[trickles], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				theirs, ours := net.Pipe()
				var sending, told sync.WaitGroup
				defer sending.Wait()
				defer theirs.Close()
				told.Add(1)
				l := NewListener(&one{conn: &pipe{ours}}, Config{Trusted: balancers, Refused: func(net.Addr, error) { told.Done() }})
				begun := time.Now()
				c, err := l.Accept()
				if err != nil || !time.Now().Equal(begun) {
					t.Fatalf("Accept waits for the header: %v", err)
				}
				if trickles {
					sending.Go(func() {
						for _, b := range []byte(header(0x21, 0x11, v4)) {
							time.Sleep(time.Second)
							if _, err := theirs.Write([]byte{b}); err != nil {
								return
							}
						}
					})
				}
				if got := c.RemoteAddr(); got != net.Addr(balancer) {
					t.Errorf("the client is %s", got)
				}
				if waited := time.Since(begun); waited != headerTimeout {
					t.Errorf("given up after %s, want %s", waited, headerTimeout)
				}
				if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
					t.Errorf("read %d, %v", n, err)
				}
				told.Wait()
				_ = c.Close()
			})
		})
	}
}

// pipe is a balancer's.
type pipe struct{ net.Conn }

func (*pipe) RemoteAddr() net.Addr { return balancer }

// TestHeaderKeepsReadDeadline: reading the header leaves the deadline that was set before, and
// keeps it.
func TestHeaderKeepsReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs, ours := net.Pipe()
		defer theirs.Close()
		l := NewListener(&one{conn: &pipe{ours}}, Config{Trusted: balancers})
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		go func() { _, _ = io.WriteString(theirs, header(0x21, 0x11, v4)) }()
		if got := c.RemoteAddr().String(); got != "192.0.2.7:12345" {
			t.Fatalf("the client is %s", got)
		}
		begun := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Minute {
			t.Errorf("read ends after %s with %v", time.Since(begun), err)
		}
	})
}

// FuzzListener: whatever a balancer sends, the connection has a client's address and exactly
// the bytes after the header, or it is refused for good.
func FuzzListener(f *testing.F) {
	for _, h := range headers {
		f.Add([]byte(h.header + "the rest"))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, refused := accept(t, balancer, string(sent))
		remote := c.RemoteAddr()
		read, err := io.ReadAll(c)
		if len(refused()) > 0 {
			if err == nil || len(read) > 0 || remote != net.Addr(balancer) {
				t.Fatalf("refused, and yet %s sends %q, %v", remote, read, err)
			}
			return
		}
		if !bytes.HasPrefix(sent, []byte(signature)) || len(sent) < 16 || sent[12]>>4 != 2 {
			t.Fatalf("accepted without a header of version 2: %q", sent)
		}
		length := int(binary.BigEndian.Uint16(sent[14:]))
		if err != nil || !bytes.Equal(read, sent[16+length:]) {
			t.Fatalf("after a header of %d bytes %q, %v is read of %q", length, read, err, sent)
		}
		if sent[12] == byte(proxyproto.LOCAL) {
			if remote != net.Addr(balancer) {
				t.Fatalf("a health check comes from %s", remote)
			}
			return
		}
		if at, err := netip.ParseAddrPort(remote.String()); err != nil || at.Addr().IsUnspecified() || at.Addr().IsMulticast() {
			t.Fatalf("the client is %s", remote)
		}
	})
}
