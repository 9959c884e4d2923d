package proxy

import (
	"crypto/tls"
	"fmt"
	"hash/maphash"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// TestOneAddressLeavesConnections: whoever opens as many connections as can be from one address leaves
// some to others, those leave some again, and all of them have what they leave once they close.
func TestOneAddressLeavesConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const most = 100
	w.config.Server.MaxConnections = most
	f := w.front(t)
	// fill opens connections from an address until one is not served.
	fill := func(from string) (open []net.Conn) {
		t.Helper()
		for len(open) <= most {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			raw, err := dialer.DialContext(t.Context(), "tcp", f.addr)
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, &tls.Config{RootCAs: f.root, ServerName: "127.0.0.1"})
			t.Cleanup(func() { _ = raw.Close() })
			_ = conn.SetDeadline(time.Now().Add(stuck))
			if conn.Handshake() != nil {
				return open
			}
			open = append(open, raw)
		}
		return open
	}
	free := most
	var all []net.Conn
	addresses := map[*atomic.Int64]string{} // two may share a counter
	for n := 1; len(addresses) < 3; n++ {
		address := fmt.Sprint("127.0.0.", n)
		addresses[f.listeners.connections.counter(address+":1")] = address
	}
	i := 0
	for _, from := range addresses {
		until(t, "rejected connections are closed", func() bool { return f.listeners.connections.open.Load() == int64(most-free) })
		conns := fill(from)
		if got, want := len(conns), addressShare*(free+1)/(addressShare+1); got != want {
			t.Errorf("address %d has %d connections when %d are free, want %d", i, got, free, want)
		}
		free -= len(conns)
		all = append(all, conns...)
		i++
	}
	if n := f.listeners.connections.refused.Load(); n != 3 {
		t.Errorf("%d connections are said to be rejected, want 3", n)
	}
	for _, conn := range all {
		_ = conn.Close()
	}
	until(t, "all connections are closed", func() bool { return f.listeners.connections.open.Load() == 0 })
	for i := range f.listeners.connections.byAddress {
		if n := f.listeners.connections.byAddress[i].Load(); n != 0 {
			t.Errorf("%d closed connections count for an address", n)
		}
	}
}

// TestLastConnectionIsServed: whoever has a place keeps it while another connection is refused.
func TestLastConnectionIsServed(t *testing.T) {
	client, server := net.Pipe()
	t.Cleanup(func() { _ = client.Close() })
	l := &connections{most: 10, addressSeed: maphash.MakeSeed(), lines: rate.NewLimiter(0, 0)}
	l.open.Store(l.most + 1) // as Accept does until it has refused one
	if err := (&connection{Conn: server, of: l}).countAddress(); err != nil {
		t.Error(err)
	}
}

// TestMaxConnections: what comes beyond the bound is closed at once, those that
// were there are served on, and a place that is given back is good for another.
func TestMaxConnections(t *testing.T) {
	w := newWorld(t)
	w.config.Server.MaxConnections = 3
	f := w.front(t)
	served := func() (*tls.Conn, error) {
		t.Helper()
		raw, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = raw.Close() })
		conn := tls.Client(raw, &tls.Config{RootCAs: f.root, ServerName: "127.0.0.1"})
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		return conn, conn.Handshake()
	}
	var open []*tls.Conn
	for range 3 {
		conn, err := served()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	for range 5 {
		if _, err := served(); err == nil {
			t.Error("one more than there may be is served")
		}
	}
	if n := f.listeners.connections.refused.Load(); n != 5 {
		t.Errorf("%d are said to be refused", n)
	}
	_ = open[0].Close()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, err := served(); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("a place was given back: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := f.listeners.connections.open.Load(); n != 3 {
		t.Errorf("%d connections are said to be open", n)
	}
}
