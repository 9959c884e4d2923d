package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"frontproxy/proxy/upstream"

	dto "github.com/prometheus/client_model/go"
)

// TestConnectionSharing: who shares connections to a shard, and who has one alone.
func TestConnectionSharing(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set("X-Proto", r.Proto)
	})
	f := w.front(t)
	for name, tt := range map[string]struct {
		method, query string
		body          io.Reader
		want          string
	}{
		"read":                       {"GET", "", nil, "HTTP/1.1"},
		"list":                       {"GET", "?limit=500", nil, "HTTP/1.1"},
		"watch":                      {"GET", "?watch=true", nil, "HTTP/1.1"},
		"followed log":               {"GET", "?follow=true", nil, "HTTP/1.1"},
		"delete":                     {"DELETE", "", nil, "HTTP/2.0"},
		"small write":                {"POST", "", strings.NewReader("x"), "HTTP/2.0"},
		"large write":                {"PUT", "", strings.NewReader(strings.Repeat("x", maxBufferedBody+1)), "HTTP/1.1"},
		"write of an unknown length": {"POST", "", io.MultiReader(strings.NewReader("x")), "HTTP/2.0"},
	} {
		for _, http2 := range []bool{false, true} {
			r, err := http.NewRequest(tt.method, f.URL+"/clusters/root:ws/api"+tt.query, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			res, err := f.client(t, http2).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if got := res.Header.Get("X-Proto"); res.StatusCode != http.StatusOK || got != tt.want {
				t.Errorf("%s: %d, over %s, want %s", name, res.StatusCode, got, tt.want)
			}
			if s, ok := tt.body.(io.Seeker); ok {
				_, _ = s.Seek(0, io.SeekStart)
			}
		}
	}
	checkAlone(t, f, 0)
}

// TestBurstSharesConnections: when many requests have a connection alone, the others share some;
// afterwards everything is as before.
func TestBurstSharesConnections(t *testing.T) {
	t.Parallel()
	const sent, together = upstream.MaxDedicated + 50, 8 // together: how many are on their way to the shard
	w := newWorld(t)
	var mu sync.Mutex
	connections, protocols := map[string]bool{}, map[string]int{}
	arrived, free := make(chan struct{}, sent), make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		connections[r.RemoteAddr] = true
		protocols[r.Proto]++
		mu.Unlock()
		arrived <- struct{}{}
		<-free
		_, _ = rw.Write([]byte("x"))
	})
	f := w.front(t)
	t.Cleanup(release) // before the shard is closed, which waits for its requests
	clients := f.crowd(t, true, sent, sent)
	answered := make(chan error, sent)
	for n := range sent + together {
		if n < sent {
			go func() {
				res, err := clients[n%len(clients)].Get(f.URL + "/clusters/root:ws/api")
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				if err == nil && res.StatusCode != http.StatusOK {
					err = errors.New(res.Status)
				}
				answered <- err
			}()
		}
		if n < together {
			continue
		}
		select {
		case <-arrived:
		case err := <-answered:
			t.Fatalf("answered before all are at the shard: %v", err)
		case <-time.After(stuck):
			t.Fatalf("%d requests have come to the shard, and no more come", n-together)
		}
	}
	release() // everybody is here at the same time
	for range sent {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
	if protocols["HTTP/1.1"] != upstream.MaxDedicated || protocols["HTTP/2.0"] != 50 || len(connections) > upstream.MaxDedicated+50/2 {
		t.Errorf("over %v, on %d connections", protocols, len(connections))
	}
	checkAlone(t, f, 0)
}

// checkAlone compares how many requests are counted as alone.
func checkAlone(t *testing.T, f *front, want int64) {
	t.Helper()
	for _, u := range f.router.Upstreams() {
		if got, _ := u.Dedicated(); got != want {
			t.Errorf("%d requests are counted as alone, want %d", got, want)
		}
	}
}

// TestWatchEventsArriveAtOnce: what a watch says comes whole and at once, whether it is more
// or less than a buffer holds, and its bytes are counted.
func TestWatchEventsArriveAtOnce(t *testing.T) {
	protocols(t, func(t *testing.T, client2, shard2 bool) {
		w := newWorld(t)
		sizes := []int{1, streamBuffer - 1, streamBuffer, streamBuffer + 1, copyBuffer - 1, copyBuffer, copyBuffer + 1, 5*copyBuffer + streamBuffer, 1, 0}
		next := make(chan int, 1)
		w.shard(t, "shard-1", shard2, func(rw http.ResponseWriter, _ *http.Request) {
			n := byte(0)
			_ = http.NewResponseController(rw).Flush()
			for size := range next {
				event := make([]byte, size)
				for i := range event {
					n++
					event[i] = n
				}
				_, _ = rw.Write(event)
				_ = http.NewResponseController(rw).Flush()
			}
		})
		f := w.front(t)
		res, err := f.client(t, client2).Get(f.URL + "/clusters/root:ws/api/v1/pods?watch=true")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		n, all := byte(0), 0
		for _, size := range sizes {
			next <- size // the one before has come whole
			event := make([]byte, size)
			if _, err := io.ReadFull(res.Body, event); err != nil {
				t.Fatalf("event of %d bytes: %v", size, err)
			}
			for i := range event {
				if n++; event[i] != n {
					t.Fatalf("event of %d bytes: byte %d is %d, want %d", size, i, event[i], n)
				}
			}
			all += size
		}
		close(next)
		if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
			t.Errorf("after the events: %d bytes, %v", len(rest), err)
		}
		var counted dto.Metric
		if err := f.config.Metrics.Traffic("shard-1").Received.Write(&counted); err != nil || int(counted.GetCounter().GetValue()) != all {
			t.Errorf("%v bytes were counted, %v; want %d", counted.GetCounter().GetValue(), err, all)
		}
	})
}
