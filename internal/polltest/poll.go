// Package polltest waits for what the code under test gives no signal of: files that are
// followed, connections of another process. Where a fake clock, a channel or testing/synctest
// serves, a test uses that instead. Only tests import it.
package polltest

import (
	"testing"
	"time"
)

// A wait ends the test when it takes longer than timeout: it never does, unless the test fails.
const timeout, interval = time.Minute, 2 * time.Millisecond

// Until returns once ok does.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	UntilState(t, what, func() (bool, string) { return ok(), "never happened" })
}

// UntilState returns once ok returns true. The text is what ok saw instead.
func UntilState(t testing.TB, what string, ok func() (bool, string)) {
	t.Helper()
	deadline := time.After(timeout)
	tick := time.NewTicker(interval)
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
