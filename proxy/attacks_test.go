package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"frontproxy/index"
)

// attack opens one connection and brings it to a stage at which its client may be
// silent, or die.
type attack struct {
	name string
	// open writes what there is to write; where is the path of a workspace.
	open func(t *testing.T, f *front, where string) (net.Conn, *http2.Framer)
	// arrives: the shard or the mounted host gets the request.
	arrives bool
	// waits: the client has nothing to do but to wait, so its silence ends nothing.
	waits bool
}

// behaviours are those of an upstream, by the end of the path.
func behaviours(t *testing.T, arrived *atomic.Int64) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		control := http.NewResponseController(rw)
		stop := context.AfterFunc(t.Context(), func() { // or a test that fails would wait for this
			_ = control.SetReadDeadline(past)
			_ = control.SetWriteDeadline(past)
		})
		defer stop()
		flush := func() { _ = control.Flush() }
		wait := func() {
			select {
			case <-r.Context().Done():
			case <-t.Context().Done(): // over HTTP/1.1 with an unread body nothing else tells
			}
		}
		switch r.URL.Path[strings.LastIndexByte(r.URL.Path, '/'):] {
		case "/silent":
			wait()
		case "/early":
			flush()
			wait()
		case "/endless":
			for chunk := make([]byte, 64<<10); ; {
				if _, err := rw.Write(chunk); err != nil {
					return
				}
			}
		case "/hints":
			rw.Header().Set("Link", "</"+strings.Repeat("x", 1000)+">") // not changed later: net/http may still read it
			for range 50 {
				rw.WriteHeader(http.StatusEarlyHints)
			}
			wait()
		case "/upload":
			flush()
			_, _ = io.Copy(io.Discard, r.Body)
		default:
			_, _ = io.WriteString(rw, "ok")
		}
	}
}

// over1 writes lines of HTTP/1.1, in which WHERE is the path of the workspace.
func over1(lines ...string) func(*testing.T, *front, string) (net.Conn, *http2.Framer) {
	return func(t *testing.T, f *front, where string) (net.Conn, *http2.Framer) {
		t.Helper()
		conn := f.dial(t)
		_ = conn.SetDeadline(time.Now().Add(stuck))
		// What is refused before it has been written is refused.
		_, _ = io.WriteString(conn, strings.ReplaceAll(strings.Join(lines, "\r\n"), "WHERE", where))
		return conn, nil
	}
}

// over2 opens stream 1 of HTTP/2 for a request, some of whose body follows.
func over2(method, path, body string, ends bool, pairs ...string) func(*testing.T, *front, string) (net.Conn, *http2.Framer) {
	return func(t *testing.T, f *front, where string) (net.Conn, *http2.Framer) {
		t.Helper()
		// Nobody grants a window, so that answers wait for their client.
		conn, framer := f.http2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		writeHeaders(t, framer, 1, ends && body == "", asks(method, where+path, pairs...))
		if body != "" {
			if err := framer.WriteData(1, ends, []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		return conn, framer
	}
}

var attacks = []attack{
	{"half a request line", over1("GET WHERE/ap"), false, true},
	{"half of the headers", over1("GET WHERE/api HTTP/1.1", "Host: h", "X-A: b"), false, true},
	{"no small body", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Content-Length: 100", "", ""), false, false},
	{"half a small body", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Content-Length: 100", "", "half"), false, false},
	{"no word before a small body", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Expect: 100-continue", "Content-Length: 100", "", ""), false, false},
	{"no word before a large body", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Expect: 100-continue", "Content-Length: 1000000", "", ""), true, false},
	{"half a large body", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Content-Length: 1000000", "", "half"), true, false},
	{"half a chunk", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "", "ff", "half"), true, false},
	{"half a chunk's extension", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "", "1;a="+strings.Repeat("x", 2000)), true, false},
	{"chunks that are all extension", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "", strings.Repeat("1;a="+strings.Repeat("x", 2000)+"\r\nx\r\n", 100)), true, false},
	{"half a trailer", over1("POST WHERE/upload HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Trailer: X-A", "", "0", "X-A: b"), true, false},
	{"upload that is answered early", over1("POST WHERE/early HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "", "ff", "half"), true, false},
	{"silent upstream", over1("GET WHERE/silent HTTP/1.1", "Host: h", "", ""), true, true},
	{"silent answer", over1("GET WHERE/early HTTP/1.1", "Host: h", "", ""), true, true},
	{"silent watch", over1("GET WHERE/api/v1/pods/early?watch=1 HTTP/1.1", "Host: h", "", ""), true, true},
	{"unread answer", over1("GET WHERE/endless HTTP/1.1", "Host: h", "", ""), true, false},
	{"unread watch", over1("GET WHERE/api/v1/pods/endless?watch=1 HTTP/1.1", "Host: h", "", ""), true, false},
	{"early hints", over1("GET WHERE/hints HTTP/1.1", "Host: h", "", ""), true, true},
	{"pipelined requests", over1(strings.Repeat("GET WHERE/api HTTP/1.1\r\nHost: h\r\n\r\n", 20)+"GET WHERE/silent HTTP/1.1", "Host: h", "", ""), true, true},
	{"upgrade with what follows it", over1("GET WHERE/silent HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: websocket", "", "GET / HTTP/1.1", ""), true, true},
	{"upgrade that is not made", over1("GET WHERE/early HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: websocket", "", ""), true, true},
	{"upgrade with a body", over1("POST WHERE/early HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 1000000", "", "half"), true, false},
	{"upgrade that nobody serves", over1("GET WHERE/early HTTP/1.1", "Host: h", "Connection: upgrade", "Upgrade: h2c", "", ""), false, true},
	{"CONNECT", over1("CONNECT h:443 HTTP/1.1", "Host: h:443", "", ""), false, true},
	{"CONNECT of a path", over1("CONNECT WHERE/silent HTTP/1.1", "Host: h", "", ""), false, true},

	{"stream: no small body", over2("POST", "/upload", "", false, "content-length", "100"), false, false},
	{"stream: half a small body", over2("POST", "/upload", "half", false, "content-length", "100"), false, false},
	{"stream: no word before a large body", over2("POST", "/upload", "", false, "expect", "100-continue", "content-length", "1000000"), true, false},
	{"stream: half a large body", over2("POST", "/upload", "half", false, "content-length", "1000000"), true, false},
	{"stream: half a body without a length", over2("POST", "/upload", "half", false), true, false},
	{"stream: upload that is answered early", over2("POST", "/early", "half", false), true, false},
	{"stream: long-running upload", over2("POST", "/api/v1/namespaces/a/pods/b/proxy/upload", "half", false), true, false},
	{"stream: watch with an upload", over2("GET", "/api/v1/pods/early?watch=1", "half", false), true, true},
	{"stream: silent upstream", over2("GET", "/silent", "", true), true, true},
	{"stream: silent answer", over2("GET", "/early", "", true), true, true},
	{"stream: silent watch", over2("GET", "/api/v1/pods/early?watch=1", "", true), true, true},
	{"stream: unread answer", over2("GET", "/endless", "", true), true, false},
	{"stream: unread watch", over2("GET", "/api/v1/pods/endless?watch=1", "", true), true, false},
	{"stream: early hints", over2("GET", "/hints", "", true), true, true},
	{"stream: extended CONNECT", over2("CONNECT", "/silent", "half", false, ":protocol", "websocket"), false, true},
}

// TestAttacksReleaseEverything: whatever a client does or leaves undone, and at
// whatever stage it dies, resets its stream or falls silent, its requests give back
// all that they held, and a neighbour is served meanwhile. The upstream is a shard or
// a host that a tenant mounts.
func TestAttacksReleaseEverything(t *testing.T) {
	t.Parallel()
	const times = 3 // each attack
	for _, shard2 := range []bool{false, true} {
		for i, where := range []string{"/clusters/root:ws", "/clusters/root:away"} {
			if testing.Short() && shard2 == (i == 0) {
				continue // each upstream with one way to it is what make test-unit has time for
			}
			t.Run(fmt.Sprintf("upstream HTTP/2 %v, %s", shard2, where), func(t *testing.T) {
				t.Parallel() // it mostly waits
				var arrived atomic.Int64
				w := newWorld(t)
				host := w.mountedHost(t, shard2, behaviours(t, &arrived))
				neighbour := w.shard(t, "neighbour", true, nil)
				w.index["root:quiet"] = index.Target{Cluster: "quiet", Shard: neighbour.Shard}
				w.index["root:ws"] = index.Target{Cluster: "2kd9", Shard: shardAt("shard-1", parse(t, host.URL))}
				// Room for the large bodies of all three clients, who are one user.
				w.config.MaxInFlight, w.config.ProgressTimeout = 2*mayRun, 300*time.Millisecond
				f := w.front(t)
				quiet := f.client(t, true)
				for _, a := range attacks {
					for _, end := range []string{"dies", "is reset", "is silent"} {
						if end == "is silent" && a.waits || end == "is reset" && !strings.HasPrefix(a.name, "stream") {
							continue
						}
						before := arrived.Load()
						var conns []net.Conn
						var framers []*http2.Framer
						for range times {
							conn, framer := a.open(t, f, where)
							conns, framers = append(conns, conn), append(framers, framer)
						}
						if a.arrives {
							until(t, a.name+": the requests arrive", func() bool { return arrived.Load()-before >= times })
						}
						until(t, a.name+": a neighbour is served", func() bool { // again if the machine kept it from reading for a ProgressTimeout
							res, err := quiet.Get(f.URL + "/clusters/root:quiet/api")
							if err != nil {
								return false
							}
							if _, err := io.Copy(io.Discard, res.Body); err != nil {
								return false
							}
							_ = res.Body.Close()
							if res.StatusCode != http.StatusOK {
								t.Errorf("%s: a neighbour is answered %d", a.name, res.StatusCode)
							}
							return true
						})
						for i, conn := range conns {
							switch end {
							case "dies":
								_ = conn.Close()
							case "is reset":
								_ = framers[i].WriteRSTStream(1, http2.ErrCodeCancel) // it may be over
							}
						}
						idle := false // once: a request of a client that died may still be read
						for deadline := time.Now().Add(stuck); !idle && time.Now().Before(deadline); {
							time.Sleep(2 * time.Millisecond)
							idle = f.inFlight.Load() == 0 && f.held() == ""
						}
						if !idle {
							t.Errorf("%s, and %s: %d requests are under way and hold %s", a.name, end, f.inFlight.Load(), f.held())
							for _, conn := range conns {
								_ = conn.Close()
							}
							f.idle(t)
						}
						for _, conn := range conns {
							_ = conn.Close()
						}
					}
				}
			})
		}
	}
}
