package authntest

import (
	"context"
	"os"
	"testing"

	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/internal/filewatch"
	"frontproxy/internal/polltest"
)

// WriteFile writes a file, or fails the test.
func WriteFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Settle has f use what is in its files now, and returns why it does not.
func Settle[T any](t *testing.T, f *filewatch.File[T], clk *clocktesting.FakeClock) error {
	t.Helper()
	f.Check(t.Context())
	clk.Step(filewatch.Settle)
	f.Check(t.Context())
	return f.LastError()
}

// Follow runs, makes a change and waits until it is seen.
func Follow(t *testing.T, run func(context.Context) error, change func(), seen func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run(ctx)
	}()
	change()
	polltest.Until(t, "the change is seen", seen)
	cancel()
	<-done
}
