package proxy

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"frontproxy/proxy/routing/routingtest"
	"frontproxy/proxy/upstream"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http2"
	testingclock "k8s.io/utils/clock/testing"

	"frontproxy/internal/certstest"
)

// TestWatchStreams: the client reads each event before the shard sends the next.
func TestWatchStreams(t *testing.T) {
	protocols(t, func(t *testing.T, client2, shard2 bool) {
		w := newWorld(t)
		next := make(chan struct{})
		w.shard(t, "shard-1", shard2, func(rw http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(rw).Flush()
			for i := range 3 {
				_, _ = fmt.Fprintf(rw, "event %d\n", i)
				_ = http.NewResponseController(rw).Flush()
				<-next
			}
		})
		f := w.front(t)
		res, err := f.client(t, client2).Get(f.URL + "/clusters/root:ws/api/v1/pods?watch=true")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		lines := bufio.NewReader(res.Body)
		for i := range 3 {
			if line, err := lines.ReadString('\n'); line != fmt.Sprintf("event %d\n", i) {
				t.Fatalf("event %d: %q, %v", i, line, err)
			}
			next <- struct{}{}
		}
		if _, err := lines.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last event: %v", err)
		}
	})
}

// TestBodiesAreNotBuffered: the shard echoes each part of a body before the
// client sends the next one.
func TestBodiesAreNotBuffered(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(rw)
		_ = rc.SetReadDeadline(time.Now().Add(stuck)) // or a hang would last until the whole run is cut
		buf := make([]byte, 4)
		for {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the shard got neither the next part of the body nor its end")
				}
				return
			}
			_, _ = rw.Write(buf)
			_ = rc.Flush()
		}
	})
	f := w.front(t)
	pr, pw := io.Pipe()
	go func() { _, _ = pw.Write([]byte("0000")) }()
	res, err := f.client(t, true).Post(f.URL+"/clusters/root:ws/api", "text/plain", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	buf := make([]byte, 4)
	for i := range 5 {
		if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != fmt.Sprintf("%04d", i) {
			t.Fatalf("part %d: %q, %v", i, buf, err)
		}
		if _, err := fmt.Fprintf(pw, "%04d", i+1); err != nil {
			t.Fatal(err)
		}
	}
	_ = pw.Close()
}

func TestWebSocket(t *testing.T) {
	for _, shard2 := range []bool{false, true} {
		w := newWorld(t)
		s := w.shard(t, "shard-1", shard2, func(rw http.ResponseWriter, r *http.Request) {
			up := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
			c, err := up.Upgrade(rw, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			for {
				kind, data, err := c.ReadMessage()
				if err != nil || c.WriteMessage(kind, data) != nil {
					return
				}
			}
		})
		f := w.front(t)
		f.listeners.connections.heads.limit.Store(-1 << 30) // what a tunnel carries is no head
		d := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: f.root},
			Subprotocols: []string{"base64url.bearer.authorization.k8s.io.c2VjcmV0", "v5.channel.k8s.io"}}
		c, res, err := d.Dial("wss"+strings.TrimPrefix(f.URL, "https")+"/clusters/root:ws/exec?x=%2F", http.Header{"X-Remote-User": {"admin"}})
		if err != nil {
			t.Fatalf("dial: %v, %+v", err, res)
		}
		for _, text := range []string{"one", strings.Repeat("two", 100_000)} {
			if err := c.WriteMessage(websocket.BinaryMessage, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.ReadMessage(); err != nil || string(got) != text {
				t.Fatalf("echo of %d bytes: %d bytes, %v", len(text), len(got), err)
			}
		}
		got := s.one(t)
		checkIdentity(t, got, false)
		if c.Subprotocol() != "v5.channel.k8s.io" || strings.Contains(got.Header.Get("Sec-Websocket-Protocol"), "c2VjcmV0") {
			t.Errorf("subprotocol %q, shard was offered %q", c.Subprotocol(), got.Header.Get("Sec-Websocket-Protocol"))
		}
		_ = c.Close()
	}
}

// TestTunnelConnectionsAreNotShared: the upstream connection of an upgrade carries no
// other request, before or after the tunnel's end.
func TestTunnelConnectionsAreNotShared(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		conn, brw, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
		_, _ = io.Copy(conn, brw)
	})
	f := w.front(t)
	conn := f.dial(t)
	tunnel := bufio.NewReader(conn)
	_, _ = io.WriteString(conn, "POST /clusters/root:ws/exec HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: spdy/3.1\r\nX-Remote-Group: system:masters\r\n\r\n")
	res, err := http.ReadResponse(tunnel, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("upgrade: %v %v", res, err)
	}
	first := s.one(t)
	checkIdentity(t, first, false)
	for _, text := range []string{"\x00\x01raw", "GET /clusters/root/api HTTP/1.1\r\nHost: h\r\n\r\n"} {
		_, _ = io.WriteString(conn, text)
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(tunnel, buf); err != nil || string(buf) != text {
			t.Fatalf("echo %q, %v", buf, err)
		}
	}
	c := f.client(t, false)
	for range 3 {
		do(t, c, "GET", f.URL+"/clusters/root:ws/api", nil)
	}
	_ = conn.Close()
	for range 3 {
		do(t, c, "GET", f.URL+"/clusters/root:ws/api", nil)
	}
	for _, got := range s.take() {
		if got.Remote == first.Remote {
			t.Errorf("%s came over the tunnel's connection", got.URI)
		}
	}
}

// TestTunnelsCarryMuch: what a client sends through a tunnel has no bound.
func TestTunnelsCarryMuch(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", false, func(rw http.ResponseWriter, _ *http.Request) {
		conn, brw, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
		n, err := io.Copy(io.Discard, io.LimitReader(brw, 3<<20))
		_, _ = fmt.Fprintln(conn, n, err)
	})
	conn := w.front(t).dial(t)
	answer := bufio.NewReader(conn)
	_, _ = io.WriteString(conn, "POST /clusters/root:ws/exec HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: spdy/3.1\r\n\r\n")
	if res, err := http.ReadResponse(answer, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v %v", res, err)
	}
	for range 3 << 10 {
		if _, err := conn.Write(make([]byte, 1<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := answer.ReadString('\n'); got != fmt.Sprintln(3<<20, nil) {
		t.Errorf("the server has read %q, %v", got, err)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	entered, finish := make(chan struct{}, 8), make(chan struct{})
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).Flush()
		entered <- struct{}{}
		if r.URL.Query().Get("watch") != "" {
			_, _ = io.WriteString(rw, "event\n")
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
			return
		}
		<-finish
		_, _ = io.WriteString(rw, "whole")
	})
	w.config.Server.ShutdownTimeout = 2 * time.Second // watches are spread over half of it
	f := w.front(t)
	var bodies []io.ReadCloser
	for _, query := range []string{"?watch=1", "?watch=true", ""} {
		for _, http2 := range []bool{false, true} {
			res, err := f.client(t, http2).Get(f.URL + "/clusters/root:ws/api/v1/pods" + query)
			if err != nil {
				t.Fatal(err)
			}
			bodies = append(bodies, res.Body)
			<-entered
		}
	}
	tunnel := f.dial(t)
	stopped := make(chan error, 1)
	go func() { stopped <- f.stop() }()
	for i, b := range bodies[:4] {
		if data, err := io.ReadAll(b); err != nil || string(data) != "event\n" {
			t.Errorf("watch %d ended with %q, %v; want a clean end", i, data, err)
		}
	}
	close(finish)
	for i, b := range bodies[4:] {
		if data, err := io.ReadAll(b); err != nil || string(data) != "whole" {
			t.Errorf("request %d in flight got %q, %v", i, data, err)
		}
		_ = b.Close()
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
	_ = tunnel.Close()
	// Another test's server may have the port by now, but not the certificate.
	if conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root}); err == nil {
		_ = conn.Close()
		t.Error("the listener is still open")
	}
}

func TestNotReadyWhileDraining(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.config.Server.ShutdownDelay = 500 * time.Millisecond
	f := w.front(t)
	c := f.client(t, false)
	if res, _ := do(t, c, "GET", f.URL+"/readyz", nil); res.StatusCode != 200 {
		t.Fatalf("ready before: %d", res.StatusCode)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- f.stop() }()
	for { // until the proxy has seen its context end; it serves for the delay only
		if res, body := do(t, c, "GET", f.URL+"/readyz", nil); res.StatusCode == 500 && strings.Contains(string(body), "[-]shutdown failed") {
			break
		}
	}
	if res, _ := do(t, c, "GET", f.URL+"/clusters/root:ws/api", nil); res.StatusCode != 200 {
		t.Errorf("served within the delay: %d", res.StatusCode)
	}
	s.take()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestRotation(t *testing.T) {
	w, clk := newWorld(t), testingclock.NewFakeClock(time.Now())
	w.config.Routing.Clock = clk
	s := w.shard(t, "shard-1", true, nil)
	f := w.front(t)
	c := f.client(t, false)
	get := func() seen {
		t.Helper()
		if res, body := do(t, c, "GET", f.URL+"/clusters/root:ws/api", nil); res.StatusCode != 200 {
			t.Fatalf("answer %d %s", res.StatusCode, body)
		}
		return s.one(t)
	}
	first := get()
	var u *upstream.Upstream
	for _, u = range f.router.Upstreams() {
	}
	reload := func() error {
		t.Helper()
		routingtest.Settle(t, u.Followed, clk)
		return u.Followed.LastError()
	}
	before := u.Credentials()
	if err := reload(); err != nil || u.Credentials() != before {
		t.Fatalf("unchanged files made new connections (%v)", err)
	}
	w.write(t, "client.crt", []byte("half a write"))
	if err := reload(); err == nil || get().Certificate != first.Certificate {
		t.Errorf("a broken certificate was taken (%v)", err)
	}
	w.write(t, "ca.crt", nil)
	if err := reload(); err == nil || get().Certificate != first.Certificate {
		t.Errorf("an emptied CA bundle was taken (%v)", err)
	}
	w.write(t, "ca.crt", w.serving.PEM)
	cert, key := w.clients.Issue(t, "front-proxy-2")
	w.write(t, "client.crt", cert)
	w.write(t, "client.key", key)
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	if got := get(); got.Certificate != "front-proxy-2" || got.Remote == first.Remote {
		t.Errorf("after the rotation: certificate %s", got.Certificate)
	}
	w.write(t, "ca.crt", certstest.New(t, "other").PEM)
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	if res, _ := do(t, c, "GET", f.URL+"/clusters/root:ws/api", nil); res.StatusCode != 503 {
		t.Errorf("a shard of a CA that was taken away is still trusted: %d", res.StatusCode)
	}
}

func TestLargeBodies(t *testing.T) {
	w := newWorld(t)
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(data) })
	f := w.front(t)
	for _, http2 := range []bool{false, true} {
		if _, got := do(t, f.client(t, http2), "GET", f.URL+"/clusters/root:ws/api", nil); !bytes.Equal(got, data) {
			t.Errorf("HTTP/2 %v: %d bytes came through of %d, or others", http2, len(got), len(data))
		}
	}
}

// TestLongRunningUpload: what an API server takes for long-running may be an upload
// that is answered while it lasts (a pod's own server, behind the proxy subresource).
func TestLongRunningUpload(t *testing.T) {
	w := newWorld(t)
	over := w.echo(t)
	f := w.front(t)
	_, framer := f.http2(t)
	writeHeaders(t, framer, 1, false, asks(http.MethodPost, "/clusters/root:ws/api/v1/namespaces/a/pods/b/proxy/x"))
	for range 3 {
		if err := framer.WriteData(1, false, []byte("part")); err != nil {
			t.Fatal(err)
		}
		awaitData(t, framer)
	}
	if err := framer.WriteData(1, true, nil); err != nil {
		t.Fatal(err)
	}
	await(t, framer, "the end of the answer", func(frame http2.Frame) bool {
		data, ok := frame.(*http2.DataFrame)
		return ok && data.StreamEnded()
	})
	if err := <-over; !errors.Is(err, io.EOF) {
		t.Errorf("the shard read the upload until %v", err)
	}
}
