package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgressDeadline: the time in which nothing is waited for does not count, bytes buy more
// time, and what has used its time up is cut, once.
func TestProgressDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cuts := 0
		p := &progressDeadline{timeout: time.Minute, quota: 100, cut: func() { cuts++ }}
		step := func(lasts time.Duration, n int) error {
			p.begin()
			time.Sleep(lasts)
			synctest.Wait()
			return p.end(n)
		}
		for range 10 {
			if err := step(50*time.Second, 100); err != nil {
				t.Fatalf("moved enough: %v", err)
			}
			time.Sleep(time.Hour) // somebody else's
		}
		for range 3 {
			if err := step(19*time.Second, 1); err != nil {
				t.Fatalf("still has time: %v", err)
			}
		}
		if err := step(4*time.Second, 1); err == nil || cuts != 1 {
			t.Errorf("trickled for longer than there is: %v, %d cuts", err, cuts)
		}
		if err := step(time.Hour, 1000); err == nil || cuts != 1 {
			t.Errorf("after the cut: %v, %d cuts", err, cuts)
		}
	})
}

// TestProgressDeadlineOfALaterStep: a step is cut when its own time is up, although the timer
// was set for an earlier one.
func TestProgressDeadlineOfALaterStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cut time.Time
		p := &progressDeadline{timeout: time.Minute, quota: 100, cut: func() { cut = time.Now() }}
		for range 4 { // 40 s each, of which they use up 1
			p.begin()
			time.Sleep(time.Second)
			if err := p.end(1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(39 * time.Second)
		}
		p.begin()
		began := time.Now()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got, want := cut.Sub(began), 56*time.Second; got != want {
			t.Errorf("cut after %v, want %v", got, want)
		}
		if err := p.end(0); err == nil {
			t.Error("the step that was cut knows nothing of it")
		}
	})
}

// TestProgressDeadlineForgets: after stop no timer keeps what cut refers to, also if a step
// comes later.
func TestProgressDeadlineForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &progressDeadline{timeout: time.Minute, quota: 100, cut: func() { t.Error("cut") }}
		p.begin()
		p.stop()
		if p.timer.Stop() {
			t.Error("the timer was still set")
		}
		p.begin()
		if p.timer.Stop() {
			t.Error("a later step has set the timer")
		}
		_ = p.end(0)
	})
}

// TestProgressDeadlineStops: nothing is cut when nobody waits any more, even if a step has not returned.
func TestProgressDeadlineStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &progressDeadline{timeout: time.Minute, quota: 100, cut: func() { t.Error("cut") }}
		p.begin()
		p.stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if p.timedOut() {
			t.Error("says that it was cut")
		}
	})
}

// TestProgressDeadlineFiresLate: the timer of an earlier step, which fires late, must neither
// race with the next step nor cut it. The race detector judges the first.
func TestProgressDeadlineFiresLate(t *testing.T) {
	p := &progressDeadline{timeout: time.Minute, quota: 100, cut: func() { t.Error("cut the next step") }}
	p.begin()
	if err := p.end(0); err != nil {
		t.Fatal(err)
	}
	fired := make(chan struct{})
	go func() {
		defer close(fired)
		p.fire()
	}()
	p.begin()
	<-fired
	p.fire()
	if err := p.end(0); err != nil {
		t.Errorf("the next step: %v", err)
	}
}

// BenchmarkProgressDeadline is what each write to a client and each read of its body costs.
func BenchmarkProgressDeadline(b *testing.B) {
	p := &progressDeadline{timeout: time.Minute, quota: 100, cut: func() { b.Error("cut") }}
	defer p.stop()
	b.ReportAllocs()
	for b.Loop() {
		p.begin()
		_ = p.end(100)
	}
}

// TestSilentUpstreamIsNotCut: an answer may be silent for as long as the upstream
// likes, whether or not an API server would call it a watch, while clients that do
// not move are cut.
func TestSilentUpstreamIsNotCut(t *testing.T) {
	w := newWorld(t)
	more := make(chan struct{})
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = http.NewResponseController(rw).Flush()
			<-more
			_, _ = io.WriteString(rw, "event")
		}
	})
	w.config.MaxInFlight, w.config.ProgressTimeout = 80, 50*time.Millisecond
	f := w.front(t)
	var answers []*http.Response
	for _, http2 := range []bool{false, true} {
		for _, path := range []string{"/events", "/api/v1/pods?watch=1", "/api/v1/namespaces/a/services/b/proxy/x"} {
			res, err := f.client(t, http2).Get(f.URL + "/clusters/root:ws" + path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			answers = append(answers, res)
		}
	}
	for range 3 { // each begins after the answers did, and is cut
		res, _ := f.raw(t, "POST /clusters/root:ws/api HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
		if res.StatusCode != http.StatusRequestTimeout {
			t.Fatalf("a body that does not come is answered %d", res.StatusCode)
		}
	}
	close(more)
	for _, res := range answers {
		if body, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(body), "event") {
			t.Errorf("%s: %q, %v", res.Request.URL.Path, body, err)
		}
	}
}
