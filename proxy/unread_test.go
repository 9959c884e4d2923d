package proxy

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"frontproxy/authn"
	"frontproxy/index"
)

// settled waits until n has stayed the same for 200 ms and returns it.
func settled(t *testing.T, n *atomic.Int64) int64 {
	t.Helper()
	last, since := n.Load(), time.Now()
	until(t, "a count stays the same", func() bool {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 200*time.Millisecond
	})
	return last
}

// TestUnreadAnswersAreCharged: what an upstream has sent of answers that their
// clients do not read is bounded, and charged to those who asked.
func TestUnreadAnswersAreCharged(t *testing.T) {
	t.Parallel()
	const requests, slack = 8, 16 << 10 // slack: of each request, buffers of the shard's own
	for _, kind := range []string{"shard", "mounted host"} {
		t.Run(kind, func(t *testing.T) {
			var sent atomic.Int64
			answer := func(rw http.ResponseWriter, _ *http.Request) {
				for {
					n, err := rw.Write(make([]byte, 8<<10))
					if sent.Add(int64(n)); err != nil {
						return
					}
				}
			}
			w, path := newWorld(t), "/clusters/root:busy/api"
			if kind == "shard" {
				shard := w.shard(t, "shard-1", true, answer)
				w.index["root:busy"] = index.Target{Cluster: "busy", Shard: shard.Shard}
			} else {
				w.mountedHost(t, true, answer)
				path = "/clusters/root:away/api"
			}
			s := besiege(t, w)
			client := s.client(t, true)
			client.Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 1}
			for range requests {
				go func() {
					// A POST without a body goes to the upstream over HTTP/2.
					r, _ := http.NewRequestWithContext(s.ctx, http.MethodPost, s.URL+path, nil)
					if res, err := client.Do(r); err == nil {
						<-s.ctx.Done()
						_ = res.Body.Close()
					}
				}()
			}
			until(t, "each answer has begun", func() bool { return sent.Load() >= requests*(8<<10) })
			got, charged := settled(t, &sent), s.limit.requests.used.Load()
			if most := int64(requests * (answerBytes + slack)); got > most {
				t.Errorf("the upstream has sent %d bytes that nobody reads, want at most %d", got, most)
			}
			if charged < got-requests*slack {
				t.Errorf("%d bytes wait for clients, and %d are charged", got, charged)
			}
		})
	}
}

// TestUndecidedUploadsAreCharged: what a client has sent of a body while it is
// decided who it is, is bounded, and charged to its address.
func TestUndecidedUploadsAreCharged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide = func(ctx context.Context, _ authn.Request) *authn.Decision {
		<-ctx.Done()
		return &authn.Decision{Status: http.StatusServiceUnavailable}
	}
	s := besiege(t, w)
	client := s.client(t, true)
	var taken atomic.Int64
	go func() {
		r, _ := http.NewRequestWithContext(s.ctx, http.MethodPost, s.URL+"/clusters/root:ws/api", countedReader{&taken})
		if res, err := client.Do(r); err == nil {
			_ = res.Body.Close()
		}
	}()
	until(t, "the upload has begun", func() bool { return taken.Load() > 0 })
	got, charged := settled(t, &taken), s.limit.requests.used.Load()
	// The client has read one frame that it could not send.
	if got > charged+clientFrame {
		t.Errorf("%d bytes of the body have left the client, and %d are charged", got, charged)
	}
}

// TestUploadsOfStreamsAreCharged: what net/http holds of an upload is charged as long as the
// stream lasts, also when the answer has begun.
func TestUploadsOfStreamsAreCharged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(rw)
		_ = c.EnableFullDuplex()
		_, _ = io.WriteString(rw, "begun")
		_ = c.Flush()
		select {
		case <-r.Context().Done():
		case <-t.Context().Done(): // over HTTP/1.1 with an unread body nothing else tells
		}
	})
	w.index["root:busy"] = index.Target{Cluster: "busy", Shard: s.Shard}
	f := besiege(t, w)
	var taken atomic.Int64
	r, _ := http.NewRequestWithContext(f.ctx, http.MethodPost, f.URL+"/clusters/root:busy/api/v1/namespaces/a/pods/b/proxy/upload", countedReader{&taken})
	res, err := f.client(t, true).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the upload is answered %d", res.StatusCode)
	}
	until(t, "the stream has begun", func() bool { return f.limit.streamStarts.used.Load() == 0 })
	if n := f.limit.openStreams.used.Load(); n < uploadWindow {
		t.Errorf("%d bytes are charged, and the client may send %d unasked", n, uploadWindow)
	}
}

// TestRequestsWithUnreadAnswersKeepNoMemory: net/http keeps a request until its answer is sent.
// Over HTTP/2 a client that grants no window keeps many, which nobody is charged for.
func TestRequestsWithUnreadAnswersKeepNoMemory(t *testing.T) {
	const requests, size = 40, 200 << 10
	for _, path := range []string{"/livez", "/clusters/root:nowhere/api", "/clusters/root:ws/api"} {
		for _, where := range []string{"header", "body"} {
			t.Run(path+" "+where, func(t *testing.T) {
				w := newWorld(t)
				w.decide = func(context.Context, authn.Request) *authn.Decision {
					return &authn.Decision{Status: http.StatusUnauthorized}
				}
				w.shard(t, "shard-1", true, nil)
				f := w.front(t)
				conn, framer := f.http2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
				text := strings.Repeat("~", size)
				before := heap()
				for i := range uint32(requests) {
					if where == "header" {
						writeHeaders(t, framer, 1+2*i, true, asks("GET", path, "x", text))
						continue
					}
					writeHeaders(t, framer, 1+2*i, false, asks("POST", path))
					for frame := range slices.Chunk([]byte(text), clientFrame) {
						if err := framer.WriteData(1+2*i, false, frame); err != nil {
							t.Fatal(err)
						}
					}
				}
				answers := 0
				await(t, framer, "the answers", func(frame http2.Frame) bool {
					if _, ok := frame.(*http2.MetaHeadersFrame); ok {
						answers++
					}
					return answers == requests
				})
				until(t, "no request is under way", func() bool { return f.inFlight.Load() == 0 })
				left := heap() - before
				t.Logf("%d requests of %d bytes leave %d bytes", requests, size, left)
				if left > requests*size/4 {
					t.Errorf("%d requests of %d bytes leave %d bytes", requests, size, left)
				}
				_ = conn.Close()
				f.idle(t)
			})
		}
	}
}

// countedReader is an endless body.
type countedReader struct{ taken *atomic.Int64 }

// Read implements io.Reader.
func (r countedReader) Read(b []byte) (int, error) {
	r.taken.Add(int64(len(b)))
	return len(b), nil
}

var _ io.Reader = countedReader{}
