package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRepeatsRequestsAfterGoAway: requests with bodies survive that a shard winds their
// connection down, as API servers do now and then.
func TestRepeatsRequestsAfterGoAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var requests atomic.Int64
	s := w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%5 == 0 {
			rw.Header().Set("Connection", "close") // over HTTP/2 a graceful GOAWAY
		}
	})
	f := w.front(t)
	c := f.client(t, true)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := range 60 {
				resp, err := c.Post(f.URL+"/clusters/root:ws/api", "text/plain", strings.NewReader(fmt.Sprint(worker, "/", n)))
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("request %d/%d: %d %s", worker, n, resp.StatusCode, body)
					return
				}
			}
		})
	}
	wg.Wait()
	once := map[string]int{}
	for _, got := range s.take() {
		once[got.Body]++
	}
	for body, n := range once {
		if n != 1 {
			t.Errorf("the shard got %q %d times", body, n)
		}
	}
	if !t.Failed() && len(once) != 8*60 {
		t.Errorf("the shard got %d different bodies", len(once))
	}
}

// TestBrokenBodyIsNotForwardedAsWhole: the shard does not get half a request as a whole one.
func TestBrokenBodyIsNotForwardedAsWhole(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	f := w.front(t)
	conn := f.dial(t)
	if _, err := io.WriteString(conn, "POST /clusters/root:ws/api HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err == nil && strings.Contains(string(answer), " 200 ") {
		t.Errorf("answered %s", answer)
	}
	if got := s.take(); len(got) != 0 {
		t.Errorf("the shard got %+v", got)
	}
}

// TestLateBodyGets408: who was admitted keeps no request open at the proxy,
// to send its body and have it forwarded when the credential is long revoked.
func TestLateBodyGets408(t *testing.T) {
	w := newWorld(t)
	w.config.ProgressTimeout = 200 * time.Millisecond
	s := w.shard(t, "shard-1", false, nil)
	f := w.front(t)
	const head = "POST /clusters/root:ws/api HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
	t.Run("HTTP/1.1", func(t *testing.T) {
		res, body := f.raw(t, head+"half")
		if res.StatusCode != http.StatusRequestTimeout || !res.Close || !strings.Contains(string(body), `"reason":"Timeout"`) {
			t.Errorf("answered %d, close %t: %s", res.StatusCode, res.Close, body)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		body, more := io.Pipe()
		defer func() { _ = more.Close() }()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/clusters/root:ws/api", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = 10
		res, err := f.client(t, true).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("answered %d", res.StatusCode)
		}
	})
	if got := s.take(); len(got) != 0 {
		t.Errorf("the shard got %+v", got)
	}
	t.Run("the next request has its own time", func(t *testing.T) {
		conn := f.dial(t)
		answers := bufio.NewReader(conn)
		for range 2 {
			if _, err := io.WriteString(conn, head+"0123456789"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			if res.StatusCode != http.StatusOK {
				t.Errorf("answered %d", res.StatusCode)
			}
			<-time.After(2 * w.config.ProgressTimeout) // longer than a body may take
		}
	})
}

// TestBodyBufferGrowsWithTheBody: a length that is only announced takes no memory.
func TestBodyBufferGrowsWithTheBody(t *testing.T) {
	sent := strings.Repeat("0123456789abcdef", maxBufferedBody/16)
	body := &largestRead{from: strings.NewReader(sent)}
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.ContentLength = maxBufferedBody
	held, err := bufferBody(r)
	if err != nil {
		t.Fatal(err)
	}
	if body.first > 4<<10 {
		t.Errorf("%d bytes were made ready before any had come", body.first)
	}
	for range 2 {
		again, err := held.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(again); err != nil || string(got) != sent {
			t.Errorf("held %d bytes, %v", len(got), err)
		}
	}
}

// largestRead notes how much the first reader had room for.
type largestRead struct {
	from  io.Reader
	first int
}

func (l *largestRead) Read(p []byte) (int, error) {
	if l.first == 0 {
		l.first = len(p)
	}
	return l.from.Read(p)
}
