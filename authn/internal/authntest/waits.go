package authntest

import (
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"
)

// LogTo collects log lines.
func LogTo(lines *[]string) klog.Logger {
	return funcr.New(func(_, args string) { *lines = append(*lines, args) }, funcr.Options{})
}

// Clock is a fake clock at today's time.
type Clock struct{ *clocktesting.FakeClock }

// NewClock starts at the present time.
func NewClock() Clock { return Clock{clocktesting.NewFakeClock(time.Now())} }

// Await returns when somebody waits for a timer.
func (c Clock) Await(t *testing.T) {
	t.Helper()
	Soon(t, "a wait for a timer", func() (bool, string) { return c.HasWaiters(), "nobody waits" })
}

// Soon polls for what the code under test gives no signal of.
func Soon(t testing.TB, what string, ok func() (bool, string)) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		done, state := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %s", what, state)
		}
	}
}
