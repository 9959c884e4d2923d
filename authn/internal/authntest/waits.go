package authntest

import (
	"testing"
	"time"
)

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
