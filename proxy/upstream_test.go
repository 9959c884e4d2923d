package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestConnections: who shares connections to a shard, and who has one alone.
func TestConnections(t *testing.T) {
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
		"watch":                      {"GET", "?watch=true", nil, "HTTP/2.0"},
		"followed log":               {"GET", "?follow=true", nil, "HTTP/2.0"},
		"delete":                     {"DELETE", "", nil, "HTTP/2.0"},
		"small write":                {"POST", "", strings.NewReader("x"), "HTTP/2.0"},
		"large write":                {"PUT", "", strings.NewReader(strings.Repeat("x", replayable+1)), "HTTP/1.1"},
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

// TestBurst: when many requests have a connection alone, the others share some;
// afterwards everything is as before.
func TestBurst(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	connections, protocols := map[string]bool{}, map[string]int{}
	var all sync.WaitGroup
	all.Add(aloneAtMost + 50)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		connections[r.RemoteAddr] = true
		protocols[r.Proto]++
		mu.Unlock()
		all.Done()
		all.Wait() // everybody is here at the same time
		_, _ = rw.Write([]byte("x"))
	})
	f := w.front(t)
	c := f.client(t, true)
	var asked sync.WaitGroup
	for range aloneAtMost + 50 {
		asked.Go(func() {
			res, err := c.Get(f.URL + "/clusters/root:ws/api")
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		})
	}
	asked.Wait()
	if protocols["HTTP/1.1"] != aloneAtMost || protocols["HTTP/2.0"] != 50 || len(connections) > aloneAtMost+50/2 {
		t.Errorf("over %v, on %d connections", protocols, len(connections))
	}
	checkAlone(t, f, 0)
}

// checkAlone compares how many requests are counted as alone.
func checkAlone(t *testing.T, f *front, want int64) {
	t.Helper()
	for _, u := range f.routing.Load().upstreams {
		if got := u.alone.Load(); got != want {
			t.Errorf("%d requests are counted as alone, want %d", got, want)
		}
	}
}
