package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestDrainIsSpread: streams end evenly over the time there is, none after it, and
// the drain returns with the last.
func TestDrainIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			streams = 10_000
			window  = 10 * time.Second
			slices  = 20
		)
		s := newStreamSet()
		begin := time.Now()
		ends := make(chan time.Duration, streams)
		for range streams {
			st := &stream{kind: watchStream}
			st.end = func() {
				ends <- time.Since(begin)
				s.remove(st)
			}
			s.add(st)
		}
		s.drain(window, nil)
		took := time.Since(begin)
		close(ends)
		var ended [slices]int
		var last time.Duration
		for at := range ends {
			if at >= window {
				t.Fatalf("a stream has ended after %v", at)
			}
			ended[at*slices/window]++
			last = max(last, at)
		}
		if took != last {
			t.Errorf("the drain took %v, and the last stream ended after %v", took, last)
		}
		for n, got := range ended { // five standard deviations are 110
			if want := streams / slices; got < want-110 || got > want+110 {
				t.Errorf("%d streams ended in slice %d of %d, want about %d: %v", got, n+1, slices, want, ended)
			}
		}
	})
}
