package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pires/go-proxyproto"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"frontproxy/authn"
)

// proxyHeader is what a balancer sends first for a client; "": its own health check.
func proxyHeader(t testing.TB, client string) []byte {
	t.Helper()
	h := &proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}
	if client != "" {
		at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client))
		to := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 443}
		if at.IP.To4() == nil {
			to.IP = net.ParseIP("fd00::1")
		}
		h = proxyproto.HeaderProxyFromAddrs(2, at, to)
	}
	bytes, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// dialFrom connects from a loopback address and sends bytes before anything else.
func (f *front) dialFrom(from string, first []byte) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", f.addr)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(first); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// behindBalancer is a client whose connections come from 127.0.0.1 with a header.
func (f *front) behindBalancer(t testing.TB, client string) *http.Client {
	c := f.client(t, true)
	first := proxyHeader(t, client)
	c.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		return f.dialFrom("127.0.0.1", first)
	}
	return c
}

// balancedWorld trusts 127.0.0.1.
func balancedWorld(t testing.TB) (*world, *standIn) {
	w := newWorld(t)
	w.config.Server.Balancers = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	return w, w.shard(t, "shard-1", true, nil)
}

// TestBalancersClients: the client that a balancer names is the one that authentication,
// shards and audit see, over both versions of HTTP, in watches and when the connection is
// used again.
func TestBalancersClients(t *testing.T) {
	for _, tt := range []struct{ client, want string }{
		{"192.0.2.7:1234", "192.0.2.7"}, {"[2001:db8::7]:1234", "2001:db8::7"}, {"", "127.0.0.1"}, {"127.0.0.9:1", "127.0.0.9"},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%q, HTTP/2 %v", tt.client, http2), func(t *testing.T) {
				w, s := balancedWorld(t)
				events := &trail{}
				w.config.Audit = &Audit{Sink: events, Policy: metadataOfAll()}
				var asked []string
				var mu sync.Mutex
				w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
					mu.Lock()
					defer mu.Unlock()
					asked = append(asked, r.RemoteAddr)
					return &authn.Decision{User: alice, Status: 200}
				}
				f := w.front(t)
				c := f.behindBalancer(t, tt.client)
				c.Transport.(*http.Transport).Protocols.SetHTTP1(!http2)
				c.Transport.(*http.Transport).Protocols.SetHTTP2(http2)
				for range 2 {
					resp, body := do(t, c, http.MethodGet, f.URL+"/clusters/root:ws/api/v1/configmaps", http.Header{"X-Forwarded-For": {"203.0.113.1"}})
					if resp.StatusCode != 200 {
						t.Fatalf("%s %s", resp.Status, body)
					}
				}
				for _, seen := range s.take() {
					if got := seen.Header.Get("X-Forwarded-For"); got != "203.0.113.1, "+tt.want {
						t.Errorf("the shard sees X-Forwarded-For %q", got)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				for _, remote := range asked {
					if tt.client != "" && remote != tt.client || !strings.Contains(remote, tt.want) {
						t.Errorf("authentication sees %q", remote)
					}
				}
				if diff := cmp.Diff([][]string{{"203.0.113.1", tt.want}, {"203.0.113.1", tt.want}}, sources(events, 2)); diff != "" {
					t.Errorf("sources in audit events (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// sources are those of the events, when there are so many.
func sources(s *trail, most int) (all [][]string) {
	for deadline := time.Now().Add(stuck); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := len(s.events)
		s.mu.Unlock()
		if n >= most {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Stage == auditinternal.StageResponseComplete {
			all = append(all, e.SourceIPs)
		}
	}
	return all
}

// TestBalancersHeaders: without a header that can be used a balancer's connection ends, and so
// does anybody else's that has one.
func TestBalancersHeaders(t *testing.T) {
	good := proxyHeader(t, "192.0.2.7:1234")
	for _, tt := range []struct {
		name, from string
		first      []byte
		served     bool
		without    int64 // how many are counted as without a header
	}{
		{"a balancer with a header", "127.0.0.1", good, true, 0},
		{"a balancer's health check", "127.0.0.1", proxyHeader(t, ""), true, 0},
		{"a balancer without one", "127.0.0.1", nil, false, 1},
		{"a balancer with version 1", "127.0.0.1", []byte("PROXY TCP4 192.0.2.7 10.0.0.1 1234 443\r\n"), false, 1},
		{"a balancer with two", "127.0.0.1", append(append([]byte{}, good...), good...), false, 0},
		{"somebody else without one", "127.0.0.2", nil, true, 0},
		{"somebody else with one", "127.0.0.2", good, false, 0},
		{"somebody else's health check", "127.0.0.2", proxyHeader(t, ""), false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := balancedWorld(t)
			f := w.front(t)
			conn, err := f.dialFrom(tt.from, tt.first)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(stuck))
			secured := tls.Client(conn, &tls.Config{RootCAs: f.root, ServerName: "127.0.0.1"})
			err = secured.Handshake()
			if (err == nil) != tt.served {
				t.Errorf("the handshake ends with %v", err)
			}
			if n := f.listeners.connections.withoutHeader.Load(); n != tt.without {
				t.Errorf("%d connections are counted as without a header, want %d", n, tt.without)
			}
			shows(t, f.config.Metrics, "front_proxy_connections_without_proxy_header_total", fmt.Sprint("front_proxy_connections_without_proxy_header_total ", tt.without))
		})
	}
}

// TestMissingProxyHeadersDelayNobody: connections that wait for their header hold up neither others
// nor the places that they give back.
func TestMissingProxyHeadersDelayNobody(t *testing.T) {
	t.Parallel()
	w, _ := balancedWorld(t)
	w.config.Server.MaxConnections = 30
	f := w.front(t)
	var silent []net.Conn
	for n := range 20 {
		conn, err := f.dialFrom("127.0.0.1", proxyHeader(t, "192.0.2.1:1")[:n%16])
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	c := f.behindBalancer(t, "192.0.2.7:1")
	for range 3 {
		if resp, body := do(t, c, http.MethodGet, f.URL+"/clusters/root:ws/api", nil); resp.StatusCode != 200 {
			t.Fatalf("%s %s", resp.Status, body)
		}
	}
	for _, conn := range silent {
		_ = conn.SetDeadline(time.Now().Add(stuck))
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("a connection without a header is kept: %v", err)
		}
		_ = conn.Close()
	}
	for deadline := time.Now().Add(stuck); f.listeners.connections.open.Load() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", f.listeners.connections.open.Load())
		}
	}
}

// TestWatchBehindABalancer: a watch's connection is taken from net/http and given back, and
// still has its client.
func TestWatchBehindABalancer(t *testing.T) {
	w, s := balancedWorld(t)
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.record(t, r)
		_, _ = io.WriteString(rw, "{}\n")
	})
	f := w.front(t)
	c := f.behindBalancer(t, "192.0.2.7:1234")
	tr := c.Transport.(*http.Transport)
	tr.Protocols.SetHTTP1(true)
	tr.Protocols.SetHTTP2(false)
	tr.MaxConnsPerHost = 1
	for _, path := range []string{"/clusters/root:ws/api/v1/pods?watch=true", "/clusters/root:ws/api", "/clusters/root:ws/api/v1/pods?watch=true"} {
		if resp, body := do(t, c, http.MethodGet, f.URL+path, nil); resp.StatusCode != 200 {
			t.Fatalf("%s: %s %s", path, resp.Status, body)
		}
		if got := s.one(t).Header.Get("X-Forwarded-For"); got != "192.0.2.7" {
			t.Errorf("%s: X-Forwarded-For %q", path, got)
		}
	}
}
