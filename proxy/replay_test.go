package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestGoAwayLosesNothing: requests with bodies survive that a shard winds their
// connection down, as API servers do now and then.
func TestGoAwayLosesNothing(t *testing.T) {
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
			for n := range 150 {
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
	if !t.Failed() && len(once) != 8*150 {
		t.Errorf("the shard got %d different bodies", len(once))
	}
}

// TestBodyThatBreaksOff: the shard does not get half a request as a whole one.
func TestBodyThatBreaksOff(t *testing.T) {
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
