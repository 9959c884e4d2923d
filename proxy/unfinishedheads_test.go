package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"frontproxy/authn"
)

// unfinishedHeads each begin a request and never complete its head. They write until their
// connection is closed, or until they have sent as much as a head may have.
var unfinishedHeads = []struct {
	name  string
	http2 bool
	write func(conn net.Conn)
}{
	{"HTTP/1.1", false, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "GET /clusters/root:ws/api HTTP/1.1\r\nHost: h\r\n")
		lines := strings.Repeat("a:\r\n", 4<<10)
		for sent := 0; sent < 1000<<10; sent += len(lines) {
			if _, err := io.WriteString(conn, lines); err != nil {
				return
			}
		}
	}},
	{"HTTP/2", true, func(conn net.Conn) {
		value := field{"x", strings.Repeat("v", 8<<10)}
		writeUnfinished(conn, block([]field{value, value}), 900<<10)
	}},
	{"HTTP/2, one byte a field", true, func(conn net.Conn) {
		writeUnfinished(conn, bytes.Repeat([]byte{0x80 | 21}, 1<<10), 31<<10) // age, without a value
	}},
}

// writeUnfinished writes a header block that repeats part until it has size bytes.
func writeUnfinished(conn net.Conn, part []byte, size int) {
	framer := http2.NewFramer(conn, nil)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	err := framer.WriteSettings()
	if err == nil {
		err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(asks("GET", "/clusters/root:ws/api"))})
	}
	for sent := 0; err == nil && sent < size; sent += len(part) {
		err = framer.WriteContinuation(1, false, part)
	}
}

// from returns a dialer with that address.
func from(address string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
}

// TestUnfinishedHeads: one address may have a part of the memory for unfinished heads; connections
// beyond that are closed. Others are served meanwhile, even with large heads, and everything is given back.
func TestUnfinishedHeads(t *testing.T) {
	t.Parallel()
	for _, tt := range unfinishedHeads {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.shard(t, "shard-1", true, nil)
			w.config.Memory = 64 << 20
			f := w.front(t)
			heads := f.listeners.connections.heads
			const attackers = 40
			var running sync.WaitGroup
			cut := make(chan struct{}, attackers)
			conns := make([]*tls.Conn, attackers)
			config := &tls.Config{RootCAs: f.root, ServerName: "127.0.0.1", CurvePreferences: quickCurves, NextProtos: []string{"http/1.1"}}
			if tt.http2 {
				config.NextProtos = []string{"h2"}
			}
			for n := range conns {
				conn, err := tls.Dial("tcp", f.addr, config)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(stuck))
				conns[n] = conn
				running.Go(func() {
					running.Go(func() {
						got, _ := io.ReadAll(conn)
						// When the last bytes are a part of a line, net/http takes them for a line without a colon.
						if !tt.http2 && len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) {
							t.Errorf("answered %q", got)
						}
						cut <- struct{}{}
					})
					tt.write(conn)
				})
			}
			const most = 16 << 20 / 3
			until(t, "all heads but a few are cut", func() bool {
				if used := heads.used.Load(); used > most+4<<20 { // some may be refused just now
					t.Fatalf("%d bytes are used", used)
				}
				return heads.refused.Load() >= attackers-5
			})
			for range attackers - 5 {
				select {
				case <-cut:
				case <-time.After(stuck):
					t.Fatal("a connection is still open")
				}
			}
			if used := heads.used.Load(); used == 0 || used > most {
				t.Errorf("%d bytes are used of %d that one address may have", used, most)
			}
			for _, http2 := range []bool{false, true} {
				neighbour := f.client(t, http2)
				neighbour.Transport.(*http.Transport).DialContext = from("127.0.0.2").DialContext
				res, body := do(t, neighbour, http.MethodGet, f.URL+"/clusters/root:ws/api", http.Header{"X-Large": {strings.Repeat("x", 300<<10)}})
				if res.StatusCode != http.StatusOK {
					t.Errorf("the neighbour gets %d: %s", res.StatusCode, body)
				}
				neighbour.CloseIdleConnections() // it is charged for a buffer that has grown
			}
			for _, conn := range conns {
				_ = conn.Close()
			}
			running.Wait()
			f.idle(t)
			shows(t, f.config.Metrics, "front_proxy_connections_with_unfinished_headers_total", fmt.Sprint("front_proxy_connections_with_unfinished_headers_total ", heads.refused.Load()))
		})
	}
}

// TestLargeHeads: a request with a complete head is served, however large the head is, and nothing stays charged.
func TestLargeHeads(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, nil)
	w.decide = func(context.Context, authn.Request) *authn.Decision { return &authn.Decision{Status: 401} }
	w.config.Memory = 64 << 20
	f := w.front(t)
	for _, http2 := range []bool{false, true} {
		c := f.client(t, http2)
		for range 5 {
			res, body := do(t, c, http.MethodGet, f.URL+"/clusters/root:ws/api", http.Header{"Authorization": {"Bearer " + strings.Repeat("x", 900<<10)}})
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("HTTP/2 %v: %d %s", http2, res.StatusCode, body)
			}
		}
		c.CloseIdleConnections() // an HTTP/2 connection is charged for a buffer that has grown
	}
	f.idle(t)
}

// TestNoRoomForHeads: when there is no room for heads, uploads and requests with small heads are
// still served, and a small head has a second to become complete.
func TestNoRoomForHeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	const size = 5 << 20
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(300 * time.Millisecond) // the client sends ahead what it may
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(rw, n, err)
	})
	f := w.front(t)
	heads := f.listeners.connections.heads
	heads.limit.Store(-1 << 30)
	for _, http2 := range []bool{false, true} {
		c := f.client(t, http2)
		var all sync.WaitGroup
		for n := range 20 {
			all.Go(func() {
				r, _ := http.NewRequest(http.MethodPost, f.URL+"/clusters/root:ws/api", io.LimitReader(zeros{}, size))
				r.Header.Set("X-Small", strings.Repeat("x", 10<<10))
				if n%2 == 0 {
					r.ContentLength = size
				}
				res, err := c.Do(r)
				if err != nil {
					t.Errorf("HTTP/2 %v: %v", http2, err)
					return
				}
				defer func() { _ = res.Body.Close() }()
				if body, _ := io.ReadAll(res.Body); string(body) != fmt.Sprint(size, nil) {
					t.Errorf("HTTP/2 %v: %d %s", http2, res.StatusCode, body)
				}
			})
		}
		all.Wait()
	}
	if n := heads.refused.Load(); n != 0 {
		t.Errorf("%d connections were closed", n)
	}
	late := f.dial(t)
	_, _ = io.WriteString(late, "GET /livez HTTP/1.1\r\nX: "+strings.Repeat("x", 20<<10))
	if got, err := io.ReadAll(late); len(got) > 0 || err != nil {
		t.Errorf("answered %q, %v", got, err)
	}
	if n := heads.refused.Load(); n != 1 {
		t.Errorf("%d connections were closed because their heads were late", n)
	}
	f.idle(t)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestHeaderBlocks: a block is unfinished from the end of its first frame to its own end, whatever
// pieces its bytes come in.
func TestHeaderBlocks(t *testing.T) {
	var sent bytes.Buffer
	framer := http2.NewFramer(&sent, nil)
	framer.AllowIllegalWrites = true
	var want []int64
	frame := func(unfinished int64, err error) {
		if err != nil {
			t.Fatal(err)
		}
		for len(want) < sent.Len()-1 {
			want = append(want, -1) // not looked at
		}
		want = append(want, unfinished)
	}
	frame(0, framer.WriteSettings())
	frame(0, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 70), EndHeaders: true}))
	frame(0, framer.WriteData(1, true, make([]byte, 300)))
	frame(100, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: make([]byte, 100)}))
	frame(100, framer.WriteContinuation(3, false, nil))
	frame(300, framer.WriteContinuation(3, false, make([]byte, 200)))
	frame(0, framer.WriteContinuation(3, true, make([]byte, 9)))
	frame(0, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, EndHeaders: true}))
	frame(1, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: make([]byte, 1)}))
	for _, step := range []int{1, 2, 7, 9, 64, 1000} {
		var h headerBlock
		for at := 0; at < sent.Len(); at += step {
			end := min(at+step, sent.Len())
			h.follow(sent.Bytes()[at:end])
			if w := want[end-1]; w >= 0 && w != h.unfinished {
				t.Errorf("%d bytes at a time: after %d, %d are unfinished, want %d", step, end, h.unfinished, w)
			}
		}
	}
}

// TestEndedReadsKeepTheirErrors: net/http ends its own read by a deadline when a request is over, and closes the
// connection for any other error. It may have read a body before that the proxy stopped to read.
func TestEndedReadsKeepTheirErrors(t *testing.T) {
	c := &connection{Conn: endedReads{}}
	c.endHead()
	c.head.read.Store(maxRecords + 1)
	if _, err := c.readHead(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

type endedReads struct{ net.Conn }

func (endedReads) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }
