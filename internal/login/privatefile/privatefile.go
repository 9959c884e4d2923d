package privatefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Read reads a file. It refuses a file that others may read or write, because they
// could have changed it. For a missing file the error is fs.ErrNotExist.
func Read(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the caller's
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read or written by others (mode %04o): remove it, or `chmod 600` it if you trust what is in it", path, mode)
	}
	return io.ReadAll(file)
}

// Write writes data to a file with mode 0600. Readers see either the old or the new
// file.
func Write(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// Remove removes a file; a missing file is not an error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// retry is the pause between attempts to take a lock that another process holds.
const retry = 50 * time.Millisecond

// Lock takes the lock of a path, which is a separate file next to it, and waits for
// it until ctx ends. unlock, or the end of the process, releases the lock.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the caller's
	if err != nil {
		return nil, err
	}
	for {
		taken, err := tryLock(file)
		switch {
		case err != nil:
			_ = file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		case taken:
			return func() { _ = file.Close() }, nil
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("another program has locked %s for too long: %w", file.Name(), ctx.Err())
		}
	}
}
