package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/proxy/destination"
)

// TestSlowShardTakesHalfOfThePlaces: a shard that is slow takes half of the places; what finds none
// gets 429 at once, the other shard is served, watches and the proxy's own pages
// need no place, and all places are given back.
func TestSlowShardTakesHalfOfThePlaces(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[http2], func(t *testing.T) { overload(t, http2) })
	}
}

func overload(t *testing.T, http2 bool) {
	const most, sent = 40, 400 // ten times as many as there are places
	const clusters = 10        // each may have an eighth, which is more than half for all
	w := newWorld(t)
	w.decide = func(context.Context, authn.Request) *authn.Decision { // who belongs to no workspace
		return &authn.Decision{User: &user.DefaultInfo{Name: "bob"}, Status: http.StatusOK, Authenticator: "token"}
	}
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	slow := w.shard(t, "slow", true, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "watch=true" {
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
			return
		}
		<-free
	})
	for n := range clusters {
		name := fmt.Sprint("slow", n)
		w.index[name] = index.Target{Cluster: name, Shard: slow.Shard}
	}
	quick := w.shard(t, "quick", true, nil)
	w.index["root:quick"] = index.Target{Cluster: "quick", Shard: quick.Shard}
	w.config.MaxInFlight = most
	f := w.front(t)
	// What waits at the shard goes before the shard is closed, which waits for it.
	t.Cleanup(release)
	clients := f.crowd(t, http2, sent, most/2)

	codes := make(chan int, sent)
	for n := range sent {
		go func() {
			resp, err := clients[n%len(clients)].Get(fmt.Sprintf("%s/clusters/slow%d/api", f.URL, n%clusters))
			if err != nil {
				t.Error(err)
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
		case <-time.After(stuck):
			t.Fatalf("nothing more is answered: %v", got)
		}
	}
	if got[http.StatusTooManyRequests] != sent-most/2 {
		t.Fatalf("answered %v, want %d with 429", got, sent-most/2)
	}
	asked := len(slow.take())
	for begin := time.Now(); asked < most/2 && time.Since(begin) < stuck; asked += len(slow.take()) {
		time.Sleep(time.Millisecond) // those that have their place are on their way
	}
	if asked != most/2 {
		t.Errorf("the slow shard was asked %d times at once, want %d", asked, most/2)
	}
	get := func(path string) int {
		t.Helper()
		resp, err := clients[0].Get(f.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK || path != "/clusters/slow0/api/v1/pods?watch=true" {
			_, _ = io.ReadAll(resp.Body)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.StatusCode
	}
	for path, want := range map[string]int{
		"/clusters/root:quick/api":               http.StatusOK,
		"/clusters/slow0/api/v1/pods?watch=true": http.StatusOK,
		"/clusters/slow0/api":                    http.StatusTooManyRequests,
		"/readyz":                                http.StatusOK,
	} {
		if code := get(path); code != want {
			t.Errorf("%s answers %d, want %d", path, code, want)
		}
	}
	release()
	for range most / 2 {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("a request that had its place is answered %d", code)
		}
	}
	deadline := time.Now().Add(stuck)
	for f.limit.all.Load() != 0 || f.limit.shard("slow").Load() != 0 || f.limit.shard("quick").Load() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("places are not given back: %d in all", f.limit.all.Load())
		}
		time.Sleep(time.Millisecond)
	}
}

// TestOverloadOfOneCluster: a tenant who asks for more than one logical cluster
// may have gets 429, and the shard's other tenants are served.
func TestOverloadOfOneCluster(t *testing.T) {
	w := newWorld(t)
	free := make(chan struct{})
	shard := w.shard(t, "shard", true, func(_ http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "greedy") {
			<-free
		}
	})
	for _, name := range []string{"greedy", "modest"} {
		w.index[name] = index.Target{Cluster: name, Shard: shard.Shard}
	}
	w.config.MaxInFlight = 80
	f := w.front(t)
	release := sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	clients := f.crowd(t, true, 101, 10)
	get := func(n int, cluster string) int {
		resp, err := clients[n%len(clients)].Get(f.URL + "/clusters/" + cluster + "/api")
		if err != nil {
			t.Error(err)
			return 0
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	codes := make(chan int, 100)
	for n := range 100 {
		go func() { codes <- get(n, "greedy") }()
	}
	for range 90 {
		if code := <-codes; code != http.StatusTooManyRequests {
			t.Errorf("beyond what one cluster may have: answered %d", code)
		}
	}
	if code := get(100, "modest"); code != http.StatusOK {
		t.Errorf("the other tenant is answered %d", code)
	}
	release()
	for range 10 {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("within what one cluster may have: answered %d", code)
		}
	}
}

// TestCutsClientsThatDoNotRead: a client that does not read its answer loses it, and its
// place, after a while; one that reads a watch does not.
func TestCutsClientsThatDoNotRead(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[http2], func(t *testing.T) { unread(t, http2) })
	}
}

func unread(t *testing.T, http2 bool) {
	w := newWorld(t)
	more := make(chan struct{})
	event := sync.OnceFunc(func() { close(more) })
	shard := w.shard(t, "shard", true, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("watch") {
			_ = http.NewResponseController(rw).Flush()
			<-more
			_, _ = io.WriteString(rw, "event")
			return
		}
		for chunk := make([]byte, 1<<20); ; {
			if _, err := rw.Write(chunk); err != nil {
				return
			}
		}
	})
	w.index["ws"] = index.Target{Cluster: "ws", Shard: shard.Shard}
	w.config.MaxInFlight, w.config.ProgressTimeout = 80, time.Second
	t.Cleanup(event)
	f := w.front(t)
	client := f.client(t, http2)
	watch, err := client.Get(f.URL + "/clusters/ws/api/v1/pods?watch=1")
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Body.Close()
	for range 3 {
		resp, err := client.Get(f.URL + "/clusters/ws/api") // and reads no body
		if err != nil {
			continue // it lost it before it could begin
		}
		defer resp.Body.Close()
	}
	deadline := time.Now().Add(30 * time.Second)
	for f.limit.all.Load() > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d places are still taken", f.limit.all.Load())
		}
		time.Sleep(10 * time.Millisecond)
	}
	event()
	if body, err := io.ReadAll(watch.Body); err != nil || string(body) != "event" {
		t.Errorf("the watch says %q, %v", body, err)
	}
}

// TestCutsSlowBodies: a client that sends its body a byte at a time loses its
// place after a while, however large the body is.
func TestCutsSlowBodies(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		w := newWorld(t)
		shard := w.shard(t, "shard", true, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		w.index["ws"] = index.Target{Cluster: "ws", Shard: shard.Shard}
		w.config.MaxInFlight, w.config.ProgressTimeout = 80, time.Second
		f := w.front(t)
		body, sender := io.Pipe()
		t.Cleanup(func() { _ = body.Close() })
		trickle := make(chan struct{})
		go func() {
			var err error
			for flows := true; flows && err == nil; {
				select {
				case <-trickle:
					flows = false
				default:
					_, err = sender.Write(make([]byte, maxBufferedBody))
				}
			}
			for tick := time.NewTicker(50 * time.Millisecond); err == nil; <-tick.C {
				_, err = sender.Write([]byte("x"))
			}
		}()
		r, err := http.NewRequest(http.MethodPost, f.URL+"/clusters/ws/api", body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = 1 << 40 // never sent
		client := f.client(t, http2)
		client.Timeout = 0
		go func() {
			if resp, err := client.Do(r); err == nil {
				_ = resp.Body.Close()
			}
		}()
		await := func(what string, places func(int64) bool) {
			t.Helper()
			for deadline := time.Now().Add(20 * time.Second); !places(f.limit.all.Load()); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s: %d places are taken", what, f.limit.all.Load())
				}
			}
		}
		await("sending", func(n int64) bool { return n == 1 })
		close(trickle)
		await("after the time there is", func(n int64) bool { return n == 0 })
	}
}

// The places of all: none is left for anybody, whatever the shard.
func TestOverloadOfAll(t *testing.T) {
	var l requestLimits
	l.init(2, math.MaxInt64)
	for i := range 3 {
		to := destination.Destination{Kind: destination.Shard, Shard: string(rune('a' + i))}
		if _, status := l.takePlaces(&to); (status == nil) != (i < 2) {
			t.Errorf("request %d: %v", i, status)
		}
	}
}
