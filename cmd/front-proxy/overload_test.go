package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// peak is the most memory that the program has had resident so far, in KiB
// (VmHWM, proc_pid_status(5)).
func (p *runningProxy) peak() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	text, _, _ := strings.Cut(rest, " kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return kib
}

// TestMemoryUnderOverload: ten times as many requests as there are places, all
// with bodies that are held, take hardly more memory than as many as there are. Those
// that have no place are refused while the others still have theirs.
func TestMemoryUnderOverload(t *testing.T) {
	t.Parallel() // the memory is that of a process of its own
	const places, rounds, beyondRounds = 64, 5, 3
	i := newInstallation(t)
	var full atomic.Pointer[chan struct{}] // until it is closed, requests stay at the shard; nil: hardly
	i.shard.SetForwarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if release := full.Load(); release != nil {
			<-*release
		} else {
			time.Sleep(20 * time.Millisecond)
		}
		_, _ = w.Write(make([]byte, 256<<10))
	}))
	args, _ := arguments(t, i.kcp)
	// An eighth of the places are those of a logical cluster, where all of it goes.
	p := newPod(t).run(i.kcp, append(args, fmt.Sprintf("--max-requests-inflight=%d", 8*places), "--workspace-requests-per-second=0", "--identity-requests-per-second=0", "--vmodule=",
		"-v=0", "--token-auth-file="+file(t, "tokens.csv", []byte("token-of-frank,frank,,abc\n"))))
	p.await(p.client(), "/clusters/root:team/api", "token-of-frank", http.StatusOK)
	l := &overload{p: p}
	for range 10 * places / 32 { // streams a connection
		client := p.client()
		client.Timeout = stuck
		l.clients = append(l.clients, client)
	}

	idle := p.peak()
	l.ask(places, rounds).Wait()
	within := p.peak()
	if l.refused.Load() > 0 || l.served.Load() != places*rounds || l.lost.Load() > 0 {
		t.Errorf("within bounds %d are answered 200, %d 429, %d not at all", l.served.Load(), l.refused.Load(), l.lost.Load())
	}
	for round := range beyondRounds {
		release, served, refused := make(chan struct{}), l.served.Load(), l.refused.Load()
		full.Store(&release)
		all := l.ask(10*places, 1)
		for deadline := time.Now().Add(stuck); l.refused.Load() < refused+9*places; time.Sleep(time.Millisecond) {
			if l.served.Load() > served || l.lost.Load() > 0 || time.Now().After(deadline) {
				t.Errorf("round %d: while all places are taken %d are answered 429, %d 200, %d not at all", round, l.refused.Load()-refused, l.served.Load()-served, l.lost.Load())
				break
			}
		}
		close(release)
		all.Wait()
		if got := [2]int64{l.served.Load() - served, l.refused.Load() - refused}; got != [2]int64{places, 9 * places} {
			t.Fatalf("round %d: %d are answered 200, %d 429, want %d and %d", round, got[0], got[1], places, 9*places)
		}
	}
	beyond := p.peak()
	t.Logf("peak: %d MiB idle, %d with %d requests at a time, %d with %d; answered 200: %d, 429: %d", idle>>10, within>>10, places, beyond>>10, 10*places,
		l.served.Load(), l.refused.Load())
	if beyond > 3*within {
		t.Errorf("ten times the load took %d MiB, the load itself %d", beyond>>10, within>>10)
	}
}

// stuck is how long nothing at all happens only if something waits for ever.
const stuck = 2 * time.Minute

// overload sends requests with bodies, and counts the answers.
type overload struct {
	p                     *runningProxy
	clients               []*http.Client // each has one connection
	served, refused, lost atomic.Int64
}

// ask has so many ask at a time, each so many times.
func (l *overload) ask(at, times int) *sync.WaitGroup {
	var all sync.WaitGroup
	for n := range at {
		all.Go(func() {
			for range times {
				l.once(l.clients[n%len(l.clients)])
			}
		})
	}
	return &all
}

func (l *overload) once(client *http.Client) {
	r, err := http.NewRequest(http.MethodPost, l.p.url+"/clusters/root:far/api", bytes.NewReader(make([]byte, 32<<10)))
	if err != nil {
		panic(err) // a fixed method and URL
	}
	r.Header.Set("Authorization", "Bearer token-of-frank")
	resp, err := client.Do(r)
	if err != nil {
		l.lost.Add(1)
		return
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	switch {
	case err == nil && resp.StatusCode == http.StatusOK:
		l.served.Add(1)
	case err == nil && resp.StatusCode == http.StatusTooManyRequests:
		l.refused.Add(1)
	default:
		l.lost.Add(1)
	}
}
