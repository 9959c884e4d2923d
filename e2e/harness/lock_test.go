package harness

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestShared: what two tests have at a time nobody has for himself, and only one of them
// starts; all is given up at the end, also when it never started.
func TestShared(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	free := func(name string) bool {
		t.Helper()
		file, err := os.OpenFile(filepath.Join(os.TempDir(), name), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	}
	want := func(when string, start, all bool) {
		t.Helper()
		if got := [2]bool{free("front-proxy-e2e-start.lock"), free("front-proxy-e2e.lock")}; got != [2]bool{start, all} {
			t.Errorf("%s: another may start, or have all: %v, want %v", when, got, [2]bool{start, all})
		}
	}
	shared := func() (started, release func()) {
		t.Helper()
		started, release, err := Shared()
		if err != nil {
			t.Fatal(err)
		}
		return started, release
	}
	started, release := shared()
	want("while the first starts", false, false)
	started()
	want("when the first has started", true, false)
	_, releaseSecond := shared()
	want("while the second starts", false, false)
	release()
	want("when the first is over", false, false)
	releaseSecond()
	want("when both are over", true, true)
}
