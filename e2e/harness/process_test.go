package harness

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStopped: a program is said to be stopped when none of its threads runs,
// and not to be when it has ended.
func TestStopped(t *testing.T) {
	t.Parallel()
	p, err := startProcess("sleeper", filepath.Join(t.TempDir(), "log"), nil, "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := p.stopped(); err == nil || !strings.Contains(err.Error(), "is not stopped") {
		t.Errorf("before SIGSTOP: %v", err)
	}
	p.signal(syscall.SIGSTOP)
	if err := Eventually(t.Context(), time.Minute, "it to stop", func(context.Context) error { return p.stopped() }); err != nil {
		t.Error(err)
	}
	p.Kill()
	if err := p.stopped(); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("after SIGKILL: %v", err)
	}
}

// TestEventuallyNamesTheCause: the error is what stood in the way, not that the
// last attempt had no time left.
func TestEventuallyNamesTheCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("its phase is Initializing")
	calls := 0
	err := Eventually(t.Context(), 2*pollInterval, "a workspace", func(ctx context.Context) error {
		if calls++; calls == 1 {
			return cause
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
}
