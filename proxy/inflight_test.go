package proxy

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/index"
)

// TestOverload: a shard that is slow takes half of the places; what finds none
// gets 429 at once, the other shard is served, watches and the proxy's own pages
// need no place, and all places are given back.
func TestOverload(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[http2], func(t *testing.T) { overload(t, http2) })
	}
}

func overload(t *testing.T, http2 bool) {
	const most, sent = 20, 200 // ten times as many as there are places
	w := newWorld(t)
	free := make(chan struct{})
	var once sync.Once
	t.Cleanup(func() { once.Do(func() { close(free) }) })
	slow := w.shard(t, "slow", true, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "watch=true" {
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
			return
		}
		<-free
	})
	w.index["root:slow"] = index.Target{Cluster: "slow", Shard: slow.Shard}
	quick := w.shard(t, "quick", true, nil)
	w.index["root:quick"] = index.Target{Cluster: "quick", Shard: quick.Shard}
	w.config.MaxInFlight = most
	f := w.front(t)
	client := f.client(t, http2)

	codes := make(chan int, sent)
	for range sent {
		go func() {
			resp, err := client.Get(f.URL + "/clusters/root:slow/api")
			if err != nil {
				codes <- 0
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode == http.StatusTooManyRequests {
				var s metav1.Status
				if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || s.Reason != metav1.StatusReasonTooManyRequests || resp.Header.Get("Retry-After") != "1" {
					t.Errorf("429 with %+v, Retry-After %q: %v", s, resp.Header.Get("Retry-After"), err)
				}
			}
			codes <- resp.StatusCode
		}()
	}
	// All but those that wait at the shard are answered while it waits.
	got := map[int]int{}
	for range sent - most/2 {
		select {
		case code := <-codes:
			got[code]++
		case <-time.After(20 * time.Second):
			t.Fatalf("not answered in time: %v", got)
		}
	}
	if got[http.StatusTooManyRequests] != sent-most/2 {
		t.Errorf("answered %v, want %d with 429", got, sent-most/2)
	}
	asked := len(slow.take())
	for begin := time.Now(); asked < most/2 && time.Since(begin) < 10*time.Second; asked += len(slow.take()) {
		time.Sleep(time.Millisecond) // those that have their place are on their way
	}
	if asked != most/2 {
		t.Errorf("the slow shard was asked %d times at once, want %d", asked, most/2)
	}
	get := func(path string) int {
		t.Helper()
		resp, err := client.Get(f.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || path != "/clusters/root:slow/api?watch=true" {
			_, _ = io.ReadAll(resp.Body)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.StatusCode
	}
	for path, want := range map[string]int{
		"/clusters/root:quick/api":           http.StatusOK,
		"/clusters/root:slow/api?watch=true": http.StatusOK,
		"/clusters/root:slow/api":            http.StatusTooManyRequests,
		"/readyz":                            http.StatusOK,
	} {
		if code := get(path); code != want {
			t.Errorf("%s answers %d, want %d", path, code, want)
		}
	}
	once.Do(func() { close(free) })
	for range most / 2 {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("a request that had its place is answered %d", code)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for f.limit.all.Load() != 0 || f.limit.shard("slow").Load() != 0 || f.limit.shard("quick").Load() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("places are not given back: %d in all", f.limit.all.Load())
		}
		time.Sleep(time.Millisecond)
	}
}

// The places of all: none is left for anybody, whatever the shard.
func TestOverloadOfAll(t *testing.T) {
	x := &exchange{p: &Proxy{}}
	x.p.limit.most = 2
	short := httptest.NewRequest(http.MethodGet, "/x", nil)
	for i := range 3 {
		x.taken = taken{}
		if status := x.enter(short); (status == nil) != (i < 2) {
			t.Errorf("request %d: %v", i, status)
		}
	}
}

func TestLongRunning(t *testing.T) {
	for target, want := range map[string]bool{
		"GET /api/v1/pods":                             false,
		"GET /api/v1/pods?watch=true":                  true,
		"GET /api/v1/pods?watch=false":                 false,
		"GET /api/v1/watch/pods":                       true,
		"GET /api/v1/namespaces/a/pods/b/log?follow=1": true,
		"GET /api/v1/pods?follow=1":                    false,
		"POST /api/v1/pods?watch=true":                 false,
		"DELETE /api/v1/watch/pods":                    false,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := longRunning(httptest.NewRequest(method, path, nil)); got != want {
			t.Errorf("%s: %t", target, got)
		}
	}
	upgrade := httptest.NewRequest(http.MethodPost, "/exec", nil)
	upgrade.Header.Set("Upgrade", "SPDY/3.1")
	if !longRunning(upgrade) {
		t.Error("an upgrade is counted")
	}
}
