package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Exclusive waits until no test and no measurement with a kcp runs on this machine,
// keeps others from beginning, and returns what lets them: for what measures. The demo
// takes no lock.
func Exclusive() (release func(), err error) { return lock("front-proxy-e2e.lock", syscall.LOCK_EX) }

// Shared is for tests, which run beside each other. It waits until nobody has the
// machine for himself (see Exclusive) and until no other test starts its kcp: a kcp
// computes while it starts and waits afterwards, and several that start at once would
// keep each other from being ready in time. It returns what to call when kcp runs, and
// what to call at the end.
func Shared() (started, release func(), err error) {
	unlock, err := lock("front-proxy-e2e.lock", syscall.LOCK_SH)
	if err != nil {
		return nil, nil, err
	}
	started, err = lock("front-proxy-e2e-start.lock", syscall.LOCK_EX)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return started, func() { started(); unlock() }, nil
}

// lock takes a lock on a file of the directory for temporary files. The kernel gives it
// up when this process ends.
func lock(name string, how int) (release func(), err error) {
	path := filepath.Join(os.TempDir(), name)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // a name of our own
	if err != nil {
		return nil, fmt.Errorf("take the lock of end-to-end tests: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), how); err != nil { //nolint:gosec // a descriptor fits
		_ = file.Close()
		return nil, fmt.Errorf("take the lock of end-to-end tests (%s): %w", path, err)
	}
	return func() { _ = file.Close() }, nil // again does nothing
}
