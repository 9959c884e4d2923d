package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// start watches file and returns what each look read.
func start(t *testing.T, file string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen, done := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, clock.RealClock{}, klog.Logger{}, []string{file}, func() {
			b, err := os.ReadFile(file)
			if err != nil {
				b = []byte(err.Error())
			}
			seen <- string(b)
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return seen
}

func await(t *testing.T, seen <-chan string, want string) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case got := <-seen:
			if got == want {
				return
			}
		case <-timeout:
			t.Fatalf("no look at the file read %q", want)
		}
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWatchSeesWrites(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) }) // after start's
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "one")
	seen := start(t, file)
	await(t, seen, "one")
	write(t, file, "two")
	await(t, seen, "two")
}

func TestWatchSeesReplacedFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	write(t, file, "one")
	seen := start(t, file)
	await(t, seen, "one")
	write(t, filepath.Join(dir, "new"), "two")
	if err := os.Rename(filepath.Join(dir, "new"), file); err != nil {
		t.Fatal(err)
	}
	await(t, seen, "two")
}

// A mounted Secret: file -> ..data/file, ..data -> a directory with a time in
// its name; an update replaces ..data.
func TestWatchSeesSwappedSecret(t *testing.T) {
	dir := t.TempDir()
	for _, generation := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, ".."+generation), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, ".."+generation, "f"), generation)
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..one", "..data")
	link("..data/f", "f")
	seen := start(t, filepath.Join(dir, "f"))
	await(t, seen, "one")
	link("..two", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	await(t, seen, "two")
}

func TestWatchWithoutDirectory(t *testing.T) {
	seen := start(t, filepath.Join(t.TempDir(), "missing", "f"))
	select {
	case <-seen:
	case <-time.After(20 * time.Second):
		t.Fatal("the file was never looked at")
	}
}
