package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Exclusive waits until no other test on this machine holds the lock, takes it
// and returns what releases it. Test packages run side by side; two kcps at
// once would make both too slow for what they test. The demo takes no lock.
func Exclusive() (release func(), err error) {
	path := filepath.Join(os.TempDir(), "front-proxy-e2e.lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // a name of our own
	if err != nil {
		return nil, fmt.Errorf("take the lock of end-to-end tests: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil { //nolint:gosec // a descriptor fits
		_ = file.Close()
		return nil, fmt.Errorf("take the lock of end-to-end tests (%s): %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}
