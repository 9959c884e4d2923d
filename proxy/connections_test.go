package proxy

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

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
