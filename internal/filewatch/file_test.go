package filewatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"frontproxy/internal/polltest"
)

// followed is a File of one file's text, and of the files that its lines "+name"
// name; a text with "bad" in it cannot be used.
type followed struct {
	*File[string]
	t     *testing.T
	clock *testingclock.FakeClock
	dir   string
	loads int
}

func newFollowed(t *testing.T, text string) *followed {
	t.Helper()
	f := &followed{t: t, clock: testingclock.NewFakeClock(time.Now()), dir: t.TempDir()}
	f.write("f", text)
	f.start(f.clock)
	return f
}

func (f *followed) start(c clock.Clock) {
	f.t.Helper()
	var err error
	if f.File, err = New(Config[string]{Name: "flag", Load: f.load, Clock: c}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *followed) load(_ context.Context, read ReadFunc) (string, error) {
	f.loads++
	text, err := read(f.path("f"))
	if err != nil {
		return "", err
	}
	all := string(text)
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "+"); ok {
			more, err := read(f.path(name))
			if err != nil {
				return "", err
			}
			all += string(more)
		}
	}
	if strings.Contains(all, "bad") {
		return "", errors.New("it is bad")
	}
	return all, nil
}

func (f *followed) path(name string) string { return filepath.Join(f.dir, name) }

// write writes in place.
func (f *followed) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// swap renames another file to name.
func (f *followed) swap(name, text string) {
	f.t.Helper()
	f.write(name+".next", text)
	if err := os.Rename(f.path(name+".next"), f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

// after checks when d has passed.
func (f *followed) after(d time.Duration) {
	f.clock.Step(d)
	f.Check(f.t.Context())
}

// settle lets what is written now settle.
func (f *followed) settle() {
	f.after(0)
	f.after(Settle)
}

func (f *followed) want(step, value, failure string) {
	f.t.Helper()
	if got := f.Get(); got != value {
		f.t.Errorf("%s: the value is %q, want %q", step, got, value)
	}
	if err := f.LastError(); failure == "" && err != nil || failure != "" && (err == nil || !strings.Contains(err.Error(), failure)) {
		f.t.Errorf("%s: LastError is %v, want %q", step, err, failure)
	}
}

func TestWrittenInPlaceIsTakenWhenItStays(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, "users\nrules\n")
	f.write("f", "more users\n") // the first of two parts
	f.after(0)
	f.after(Settle - time.Millisecond)
	f.want("a part", "users\nrules\n", "")
	f.write("f", "more users\nmore rules\n")
	f.after(time.Millisecond)
	f.want("both parts, seen once", "users\nrules\n", "")
	f.after(Settle - time.Millisecond)
	f.want("both parts, not long enough", "users\nrules\n", "")
	f.after(time.Millisecond)
	f.want("both parts", "more users\nmore rules\n", "")
}

func TestShorterIsTaken(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, strings.Repeat("line\n", 1000))
	f.write("f", "l")
	f.settle()
	f.want("a removal", "l", "")
}

func TestEmptyIsNeverTaken(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"empty": "", "white space": " \n\t\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFollowed(t, "one")
			f.write("f", text)
			f.after(0)
			f.want("for a moment", "one", "")
			for range 5 {
				f.after(time.Hour)
				f.want("for long", "one", "is empty")
			}
			f.swap("f", text)
			f.settle()
			f.want("by a swap", "one", "is empty")
			f.write("f", "one")
			f.after(0)
			f.want("as before", "one", "")
			if f.loads != 1 {
				t.Errorf("it was loaded %d times, want once", f.loads)
			}
			f.write("f", text)
			f.settle()
			f.write("f", "two")
			f.settle()
			f.want("another", "two", "")
		})
	}
	f := &followed{t: t, dir: t.TempDir()}
	f.write("f", "")
	if _, err := New(Config[string]{Load: f.load}); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("the first reading of an empty file: %v", err)
	}
}

func TestUnusableLeavesTheLast(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, "one")
	f.write("f", "bad")
	f.settle()
	f.want("bad", "one", "it is bad")
	f.write("f", "one")
	f.settle()
	f.want("as before", "one", "")
	if err := os.Remove(f.path("f")); err != nil {
		t.Fatal(err)
	}
	f.after(0)
	f.want("for a moment gone", "one", "")
	f.after(Settle)
	f.want("gone", "one", "no such file")
	f.write("f", "two")
	f.settle()
	f.want("another", "two", "")
}

// TestNamedFiles: a file that comes to be named must settle as well, one that is
// named no more is not followed, and files that are written together are read
// together.
func TestNamedFiles(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, "one\n")
	f.write("g", "half")
	f.swap("f", "+g\n")
	f.settle() // f
	f.want("g may be half", "one\n", "")
	f.write("g", "whole")
	f.after(Settle - time.Millisecond)
	f.want("g was half", "one\n", "")
	f.after(Settle)
	f.want("g is whole", "+g\nwhole", "")

	f.write("f", "+g\n#\n")
	f.after(0)
	f.after(Settle - time.Second)
	f.write("g", "other")
	f.after(time.Second)
	f.want("f has settled, g has not", "+g\nwhole", "")
	f.after(Settle)
	f.want("both have", "+g\n#\nother", "")

	f.write("g", "")
	f.settle()
	f.want("g is empty", "+g\n#\nother", "g\" is empty")
	f.write("f", "alone")
	f.settle()
	f.want("f waits for g, since they may belong together", "+g\n#\nother", "g\" is empty")
	f.write("g", "other")
	f.settle()
	f.want("f alone", "alone", "")
	f.write("g", "")
	f.settle()
	f.want("g is followed no more", "alone", "")
	f.write("f", "+missing")
	f.settle()
	f.after(Settle)
	f.want("missing", "alone", "missing: no such file")
}

// TestFileThatKeepsChangingIsReported: a file that is written all the time is reported.
func TestFileThatKeepsChangingIsReported(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, "one")
	for i := range int(Every/time.Second) + 2 {
		f.write("f", fmt.Sprint("part ", i))
		f.after(time.Second)
	}
	f.want("never the same", "one", "keeps changing")
	f.after(Settle)
	f.want("the same", "part 61", "")
}

// secret mounts files as Kubernetes does: f -> ..data/f, ..data -> a directory.
func (f *followed) secret(generation, text string) {
	f.t.Helper()
	check := func(err error) {
		if err != nil {
			f.t.Fatal(err)
		}
	}
	check(os.Mkdir(f.path(generation), 0o700))
	f.write(generation+"/f", text)
	check(os.Symlink(generation, f.path("..tmp")))
	check(os.Rename(f.path("..tmp"), f.path("..data")))
	if _, err := os.Lstat(f.path("f")); err != nil {
		check(os.Symlink("..data/f", f.path("f")))
	}
}

func TestSwappedSecretIsTakenAtOnce(t *testing.T) {
	t.Parallel()
	f := &followed{t: t, clock: testingclock.NewFakeClock(time.Now()), dir: t.TempDir()}
	f.secret("one", "1")
	f.start(f.clock)
	f.secret("two", "2")
	f.after(0)
	f.want("swapped", "2", "")
	f.secret("three", "")
	f.after(0)
	f.want("swapped for an empty one", "2", "is empty")
	f.secret("four", "2")
	f.after(0)
	f.want("as before", "2", "")
	f.write("four/f", "in place")
	f.after(0)
	f.want("written in place", "2", "")
	f.after(Settle)
	f.want("written in place and the same", "in place", "")

	// A link to a file that is made afterwards: no swap brought what is in it.
	if err := os.Remove(f.path("..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.path("five"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("five", f.path("..data")); err != nil {
		t.Fatal(err)
	}
	f.after(0)
	f.write("five/f", "half")
	f.after(0)
	f.want("half written behind a link", "in place", "")
}

func TestRenames(t *testing.T) {
	t.Parallel()
	op := func(name string, op fsnotify.Op) fsnotify.Event { return fsnotify.Event{Name: name, Op: op} }
	for name, tt := range map[string]struct {
		events []fsnotify.Event
		want   bool
	}{
		"renamed":             {[]fsnotify.Event{op("/x", fsnotify.Create), op("/x", fsnotify.Write), op("/x", fsnotify.Rename), op("/f", fsnotify.Create)}, true},
		"renamed, its mode":   {[]fsnotify.Event{op("/f", fsnotify.Create), op("/f", fsnotify.Chmod)}, true},
		"created and written": {[]fsnotify.Event{op("/f", fsnotify.Create), op("/f", fsnotify.Write)}, false},
		"written":             {[]fsnotify.Event{op("/f", fsnotify.Write)}, false},
		"renamed and written": {[]fsnotify.Event{op("/f", fsnotify.Create), op("/x", fsnotify.Create), op("/f", fsnotify.Write)}, false},
		"renamed and removed": {[]fsnotify.Event{op("/f", fsnotify.Create), op("/f", fsnotify.Remove)}, false},
		"renamed away":        {[]fsnotify.Event{op("/f", fsnotify.Create), op("/f", fsnotify.Rename)}, false},
		"events lost":         {[]fsnotify.Event{op("/f", fsnotify.Create), {}}, false},
	} {
		r := renames{}
		for _, e := range tt.events {
			r.note(e)
		}
		if r["/f"] != tt.want {
			t.Errorf("%s: %v, want %v", name, r["/f"], tt.want)
		}
	}
}

func TestRenamedIsTakenAtOnce(t *testing.T) {
	t.Parallel()
	f := newFollowed(t, "one")
	f.swap("f", "two")
	renamed := renames{f.path("f"): true}
	if next := f.check(t.Context(), renamed); next != burst || f.Get() != "one" {
		t.Errorf("the next check is in %v, the value %q", next, f.Get())
	}
	f.clock.Step(burst)
	f.check(t.Context(), renamed)
	f.want("renamed", "two", "")
	f.write("f", "three")
	f.check(t.Context(), renamed)
	f.clock.Step(burst)
	f.check(t.Context(), renamed)
	f.want("written later", "two", "")
}

// TestRun: events of the file system make Run check; what a rename or a swapped
// directory brings is taken without waiting for Settle, what is written in place
// is not taken before. The clock stands, but for bursts.
func TestRun(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
	for name, mount := range map[string]bool{"file": false, "secret": true} {
		t.Run(name, func(t *testing.T) {
			f := &followed{t: t, clock: testingclock.NewFakeClock(time.Now()), dir: t.TempDir()}
			change := func(generation, text string) { f.swap("f", text) }
			if mount {
				change = f.secret
			}
			change("one", "1")
			f.start(f.clock)
			start := f.clock.Now()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = f.Run(ctx) }()
			t.Cleanup(func() { cancel(); <-done })
			await := func(text string, step time.Duration) {
				t.Helper()
				polltest.UntilState(t, "the value "+text, func() (bool, string) {
					if f.Get() == text {
						return true, ""
					}
					// Each step is of a moment in which events had time to come.
					if f.clock.HasWaiters() && step > 0 {
						f.clock.Step(step)
					}
					return false, fmt.Sprintf("it is %q: %v", f.Get(), f.LastError())
				})
			}
			// Run subscribes before its first check, so a write is seen once it waits.
			polltest.Until(t, "Run waits", f.clock.HasWaiters)
			change("two", "2")
			await("2", burst/50)
			if passed := f.clock.Since(start); passed >= Settle {
				t.Errorf("a swap was taken after %v", passed)
			}
			start = f.clock.Now()
			f.write("f", "in place")
			await("in place", Settle/50)
			if passed := f.clock.Since(start); passed < Settle {
				t.Errorf("what was written in place was taken after %v", passed)
			}
		})
	}
}

// TestReload: Reload has Run check without an event and before its interval, and
// what it finds must settle all the same.
func TestReload(t *testing.T) {
	t.Parallel()
	f := &followed{t: t, clock: testingclock.NewFakeClock(time.Now()), dir: t.TempDir()}
	if err := os.Mkdir(f.path("elsewhere"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.write("elsewhere/f", "one") // nothing tells of writes there
	if err := os.Symlink("elsewhere/f", f.path("f")); err != nil {
		t.Fatal(err)
	}
	f.start(f.clock)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	polltest.Until(t, "Run waits", f.clock.HasWaiters)
	f.write("elsewhere/f", "two")
	f.Reload()
	f.Reload() // waits for nothing
	polltest.Until(t, "Run checks", func() bool {
		f.checking.Lock()
		defer f.checking.Unlock()
		return len(f.changed) == 1
	})
	f.want("just seen", "one", "")
	polltest.Until(t, "the change is taken", func() bool {
		if f.clock.HasWaiters() && f.Get() == "one" {
			f.clock.Step(Settle)
		}
		return f.Get() == "two"
	})
}

func TestResume(t *testing.T) {
	t.Parallel()
	f := &followed{t: t, clock: testingclock.NewFakeClock(time.Now()), dir: t.TempDir()}
	f.write("f", "one")
	var used []string
	f.File = Resume(Config[string]{Load: f.load, Clock: f.clock, Use: func(old, next string) { used = append(used, old, next) }}, "one", map[string][]byte{f.path("f"): []byte("one")})
	f.after(0)
	f.want("as it was", "one", "")
	f.write("f", "two")
	f.settle()
	f.want("another", "two", "")
	if f.loads != 1 || !slices.Equal(used, []string{"one", "two"}) {
		t.Errorf("%d loads, used %q", f.loads, used)
	}
}
