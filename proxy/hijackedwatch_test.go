package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"frontproxy/proxy/upstream"
)

// eventually waits until done, and fails when that takes too long.
func (w *world) eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

const askWatch = "GET /clusters/root:ws/api/v1/pods?watch=1 HTTP/1.1\r\nHost: h\r\n\r\n"

// watched is a shard whose watches say "event" and end when told to.
func watched(t *testing.T, w *world) (end chan struct{}) {
	end = make(chan struct{})
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "" {
			_, _ = io.WriteString(rw, "answer")
			return
		}
		_, _ = io.WriteString(rw, "event")
		_ = http.NewResponseController(rw).Flush()
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	return end
}

// begun reads the head of a watch's answer and its event.
func begun(t *testing.T, in *bufio.Reader) *http.Response {
	t.Helper()
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, len("event"))); err != nil || res.Close {
		t.Fatalf("no event on a connection that stays: %v", err)
	}
	return res
}

// TestConnectionIsReusedAfterWatch: watches and other requests follow each other on
// one connection, asked for as soon as the one before has ended.
func TestConnectionIsReusedAfterWatch(t *testing.T) {
	w := newWorld(t)
	end := watched(t, w)
	f := w.front(t)
	conn := f.dial(t)
	in := bufio.NewReader(conn)
	for i := range 20 {
		if _, err := io.WriteString(conn, askWatch); err != nil {
			t.Fatal(err)
		}
		res := begun(t, in)
		end <- struct{}{}
		if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
			t.Fatalf("watch %d ended with %q, %v", i, rest, err)
		}
		if i%2 == 0 {
			continue // the next one at once
		}
		if _, err := io.WriteString(conn, strings.Replace(askWatch, "?watch=1", "", 1)); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "answer" {
			t.Fatalf("answer %d: %q, %v", i, body, err)
		}
	}
}

// TestWatchEndsWithItsClient: when clients go away, their watches end at the shard, and
// nothing of them stays.
func TestWatchEndsWithItsClient(t *testing.T) {
	w := newWorld(t)
	watched(t, w)
	f := w.front(t)
	for range 10 {
		conn := f.dial(t)
		if _, err := io.WriteString(conn, askWatch); err != nil {
			t.Fatal(err)
		}
		begun(t, bufio.NewReader(conn))
		_ = conn.Close()
	}
	w.eventually(t, "all watches are over", func() bool {
		return f.streams.set.counts() == [streamKinds]int{} && f.inFlight.Load() == 0 && f.listeners.connections.open.Load() == 0
	})
}

// TestPipelinedAfterWatch: who sends its next request before a watch has ended
// gets the watch whole, and no other answer in its place.
func TestPipelinedAfterWatch(t *testing.T) {
	for name, early := range map[string]bool{"with the watch": true, "while it lasts": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			end := watched(t, w)
			var read atomic.Int64
			w.prepare = func(p *Proxy) {
				p.listeners.connections.Listener = countingListener{p.listeners.connections.Listener, &read}
			}
			f := w.front(t)
			conn := f.dial(t)
			in := bufio.NewReader(conn)
			text := askWatch
			if early {
				text += askWatch
			}
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			res := begun(t, in)
			if !early {
				before := read.Load()
				if _, err := io.WriteString(conn, askWatch); err != nil {
					t.Fatal(err)
				}
				until(t, "the proxy has read it", func() bool { return read.Load() > before })
			}
			end <- struct{}{}
			if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
				t.Errorf("the watch ended with %q, %v", rest, err)
			}
			if more, _ := io.ReadAll(in); len(more) > 0 {
				t.Errorf("after the watch: %q", more)
			}
		})
	}
}

// countingListener counts the bytes that come over its connections.
type countingListener struct {
	net.Listener
	read *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countingConn{conn, l.read}, err // a conn of nil is not used
}

type countingConn struct {
	net.Conn
	read *atomic.Int64
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// TestWatchThatClosesItsConnection: a client that says that its request is the last gets the
// connection closed after the answer (RFC 9112, section 9.6).
func TestWatchThatClosesItsConnection(t *testing.T) {
	w := newWorld(t)
	end := watched(t, w)
	f := w.front(t)
	conn := f.dial(t)
	if _, err := io.WriteString(conn, strings.Replace(askWatch, "Host: h", "Host: h\r\nConnection: close", 1)); err != nil {
		t.Fatal(err)
	}
	end <- struct{}{}
	all, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(all), "\r\nConnection: close\r\n") || !strings.HasSuffix(string(all), "\r\n0\r\n\r\n") {
		t.Errorf("%q, %v", all, err)
	}
}

// TestPanicOfWatchContained: also where no server of net/http does.
func TestPanicOfWatchContained(t *testing.T) {
	w := newWorld(t)
	end := watched(t, w)
	boom := make(chan struct{})
	w.config.Now = func() time.Time { // it is looked at when a request has ended
		select {
		case <-boom:
			panic("boom")
		default:
			return time.Now()
		}
	}
	f := w.front(t)
	conn := f.dial(t)
	if _, err := io.WriteString(conn, askWatch); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	begun(t, in)
	close(boom)
	end <- struct{}{}
	_, _ = io.Copy(io.Discard, in) // until the connection is closed
	w.eventually(t, "the panic is counted", func() bool { return f.panics.Load() == 1 })
}

// TestHTTP10WatchHasNoChunks: a client of HTTP/1.0 knows no chunks.
func TestHTTP10WatchHasNoChunks(t *testing.T) {
	w := newWorld(t)
	end := watched(t, w)
	f := w.front(t)
	conn := f.dial(t)
	if _, err := io.WriteString(conn, strings.Replace(askWatch, "HTTP/1.1", "HTTP/1.0", 1)); err != nil {
		t.Fatal(err)
	}
	end <- struct{}{}
	all, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(all), "\r\n\r\nevent") {
		t.Errorf("%q, %v", all, err)
	}
}

// TestDrainCutsStalledClients: a client that does not read does not keep the
// proxy from ending.
func TestDrainCutsStalledClients(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := rw.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	w.config.Server.ShutdownTimeout = time.Second
	f := w.front(t)
	conn := f.dial(t)
	if _, err := io.WriteString(conn, askWatch); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := f.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	w.eventually(t, "nothing is under way", func() bool { return f.inFlight.Load() == 0 && f.listeners.connections.open.Load() == 0 })
}

// TestFirstWatchesHaveTheirOwnConnections: some watches have connections for themselves, and the
// rest share.
func TestFirstWatchesHaveTheirOwnConnections(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, r.Proto)
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	f := w.front(t)
	c := f.client(t, true)
	over := map[string]int{}
	var bodies []io.Closer
	for range upstream.MaxDedicatedWatches + 10 {
		res, err := c.Get(f.URL + "/clusters/root:ws/api/v1/pods?watch=1")
		if err != nil {
			t.Fatal(err)
		}
		proto := make([]byte, len("HTTP/x.y"))
		if _, err := io.ReadFull(res.Body, proto); err != nil {
			t.Fatal(err)
		}
		over[string(proto)]++
		bodies = append(bodies, res.Body)
	}
	if got := fmt.Sprint(over); got != fmt.Sprintf("map[HTTP/1.1:%d HTTP/2.0:10]", upstream.MaxDedicatedWatches) {
		t.Errorf("watches over %s", got)
	}
	for _, body := range bodies {
		_ = body.Close()
	}
	w.eventually(t, "none is counted", func() bool {
		for _, u := range f.router.Upstreams() {
			if _, watches := u.Dedicated(); watches != 0 {
				return false
			}
		}
		return true
	})
}

// TestHTTP2RequestsHaveTLSWhateverTheScheme: whatever scheme a client says over HTTP/2, the proxy sees its
// connection's TLS, and so its certificate.
func TestHTTP2RequestsHaveTLSWhateverTheScheme(t *testing.T) {
	for _, scheme := range []string{"https", "http"} {
		w := newWorld(t)
		w.shard(t, "shard-1", false, nil)
		secure := make(chan bool, 1)
		w.prepare = func(p *Proxy) {
			p.cors = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				secure <- r.TLS != nil && r.TLS.HandshakeComplete
				p.serve(rw, r)
			})
		}
		f := w.front(t)
		code := f.frames(t, []field{{":method", "GET"}, {":scheme", scheme}, {":authority", "kcp.example"}, {":path", "/clusters/root:ws/api"}}, nil, nil)
		if code != "200" || !<-secure {
			t.Errorf("%s: %s", scheme, code)
		}
	}
}
