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
// with bodies that are held, take hardly more memory than as many as there are.
func TestMemoryUnderOverload(t *testing.T) {
	const places = 64
	i := newInstallation(t)
	i.shard.SetForwarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(20 * time.Millisecond)
		_, _ = w.Write(make([]byte, 256<<10))
	}))
	args, _ := arguments(t, i.kcp)
	// An eighth of the places are those of a logical cluster, where all of it goes.
	p := newPod(t).run(i.kcp, append(args, fmt.Sprintf("--max-requests-inflight=%d", 8*places), "--vmodule=",
		"-v=0", "--token-auth-file="+file(t, "tokens.csv", []byte("token-of-frank,frank,,abc\n"))))
	p.await(p.client(), "/clusters/root:team/api", "token-of-frank", http.StatusOK)
	var answered [600]atomic.Int64
	load := func(at int, span time.Duration) int64 {
		t.Helper()
		stopped := time.Now().Add(span)
		var all sync.WaitGroup
		for n := 0; n < at; n += 32 { // streams a connection
			client := p.client()
			client.Timeout = 2 * time.Minute // whoever shares a machine with others is answered late
			for range 32 {
				all.Go(func() {
					for time.Now().Before(stopped) {
						r, err := http.NewRequest(http.MethodPost, p.url+"/clusters/root:far/api", bytes.NewReader(make([]byte, 32<<10)))
						if err != nil {
							return
						}
						r.Header.Set("Authorization", "Bearer token-of-frank")
						resp, err := client.Do(r)
						if err != nil {
							answered[0].Add(1)
							continue
						}
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
						answered[resp.StatusCode].Add(1)
					}
				})
			}
		}
		all.Wait()
		return p.peak()
	}
	idle := p.peak()
	within := load(places, 3*time.Second)
	if n := answered[http.StatusTooManyRequests].Load(); n > 0 || answered[http.StatusOK].Load() == 0 {
		t.Errorf("within bounds %d are answered 429, %d 200", n, answered[http.StatusOK].Load())
	}
	beyond := load(10*places, 3*time.Second)
	if answered[http.StatusTooManyRequests].Load() == 0 || answered[0].Load() > 0 {
		t.Errorf("beyond bounds %d are answered 429, %d not at all", answered[http.StatusTooManyRequests].Load(), answered[0].Load())
	}
	t.Logf("peak: %d MiB idle, %d with %d requests at a time, %d with %d; answered 200: %d, 429: %d", idle>>10, within>>10, places, beyond>>10, 10*places,
		answered[http.StatusOK].Load(), answered[http.StatusTooManyRequests].Load())
	if beyond > 3*within {
		t.Errorf("ten times the load took %d MiB, the load itself %d", beyond>>10, within>>10)
	}
}
