package filewatch

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// Settle is how long a file that was written in place must stay unchanged before
	// it takes effect.
	Settle = 5 * time.Second
	// Every is how often files are checked without an event. A file that keeps
	// changing for this long is reported.
	Every = time.Minute
	// burst is how long to wait for more events after one, and how long a file that
	// was renamed to its name must stay unchanged.
	burst = 100 * time.Millisecond
)

// ReadFunc returns the content of a file, if that is complete. The error names the
// file.
type ReadFunc func(name string) ([]byte, error)

// Config of a File.
type Config[T any] struct {
	// Name is the name of the files in logs: the flag that names them.
	Name string
	// Load makes a value from files. It reads them only through read; the files that
	// it reads are followed from then on. If it returns an error, the previous value
	// stays in use.
	Load func(ctx context.Context, read ReadFunc) (T, error)
	// Use is called with every value but the first, and with the one before it, once
	// Get returns the new one. It may be nil.
	Use func(old, next T)
	// Clock is the time; nil means the real one.
	Clock clock.Clock
	// Log gets a line for every reload and for every new reason why there is none.
	// The zero Logger logs nothing.
	Log klog.Logger
}

// File is a value made from one or more files, which are followed while Run runs.
// Safe for concurrent use.
type File[T any] struct {
	config Config[T]
	key    [sha256.Size]byte // of digests, so that they reveal nothing about a secret
	value  atomic.Pointer[T]
	failed atomic.Pointer[error] // why the last seen content is not in use; nil: it is
	wake   chan struct{}

	checking sync.Mutex // serializes Check; guards the fields below
	// known is the last complete state of each file, whether or not it could be used;
	// made is the state from which the value in use was made.
	known, made map[string]state
	changed     map[string]change // files that differ from known
}

// state of a file when it was read.
type state struct {
	digest [sha256.Size]byte // zero: it could not be read
	err    string            // why not
	empty  bool
	path   string // without symbolic links
}

// same reports whether a reader would see no difference.
func (s state) same(o state) bool {
	return s.digest == o.digest && s.err == o.err && s.empty == o.empty
}

// change is a file that differs from its known state.
type change struct {
	state        state
	since, first time.Time // when this state, and any difference from known, was first seen
	gone         bool      // it has been missing or empty since the known state
}

// errUnsettled is the error of ReadFunc for a file that may still be being written.
var errUnsettled = errors.New("the file may not be complete yet")

// New loads the value for the first time, from the files' current content, complete
// or not: there is no earlier content. An empty file is an error.
func New[T any](c Config[T]) (*File[T], error) {
	f := blank(c)
	v, read, _, err := f.load(context.Background(), false)
	if err != nil {
		return nil, err
	}
	f.value.Store(&v)
	f.known, f.made = read, maps.Clone(read)
	return f, nil
}

// Resume is like New, for a value that was already made from the given contents.
func Resume[T any](c Config[T], v T, contents map[string][]byte) *File[T] {
	f := blank(c)
	f.value.Store(&v)
	for name, text := range contents {
		path, _ := filepath.EvalSymlinks(name)
		f.known[name] = state{digest: f.digest(text), empty: blankText(text), path: path}
	}
	f.made = maps.Clone(f.known)
	return f
}

func blank[T any](c Config[T]) *File[T] {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	f := &File[T]{config: c, wake: make(chan struct{}, 1), known: map[string]state{}, changed: map[string]change{}}
	_, _ = rand.Read(f.key[:]) // never fails
	return f
}

// Get returns the value in use.
func (f *File[T]) Get() T { return *f.value.Load() }

// LastError returns why the last seen content of the files is not in use; nil if it
// is, or if that is not known yet. It never blocks.
func (f *File[T]) LastError() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// setError records the result of a check; nil is a success. It reports whether err is a
// failure that the check before did not have, so that repeated ones are logged once.
func (f *File[T]) setError(err error) (news bool) {
	before := f.LastError()
	if err == nil {
		f.failed.Store(nil)
		return false
	}
	f.failed.Store(&err)
	return before == nil || before.Error() != err.Error()
}

// Reload makes Run check the files now. It does not wait for that, and does not
// change the rules for when a change takes effect.
func (f *File[T]) Reload() {
	select {
	case f.wake <- struct{}{}:
	default: // a check is already due
	}
}

// Run follows the files until ctx ends, and returns nil.
func (f *File[T]) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		f.follow(ctx, f.files())
	}
	return nil
}

// follow follows files until ctx ends or the set of files changes.
func (f *File[T]) follow(ctx context.Context, files []string) {
	watcher, unsubscribe := subscribe(f.config.Log, files)
	defer unsubscribe()
	renamed := renames{}
	for ctx.Err() == nil {
		now := f.config.Clock.Now()
		due := now.Add(f.check(ctx, renamed))
		if !slices.Equal(files, f.files()) {
			return
		}
		timer := f.config.Clock.NewTimer(due.Sub(f.config.Clock.Now()))
		if !f.config.Clock.Now().Before(due) { // the clock went on before there was a timer
			timer.Stop()
			continue
		}
		select {
		case <-ctx.Done():
		case <-timer.C():
		case <-f.wake:
		case e := <-watcher.Events:
			renamed.note(e)
			f.drain(ctx, watcher, renamed)
		case err := <-watcher.Errors:
			f.lost(err, renamed)
			f.drain(ctx, watcher, renamed)
		}
		timer.Stop()
	}
}

// drain records the events of the next moment.
func (f *File[T]) drain(ctx context.Context, watcher *fsnotify.Watcher, renamed renames) {
	timer := f.config.Clock.NewTimer(burst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
			return
		case e := <-watcher.Events:
			renamed.note(e)
		case err := <-watcher.Errors:
			f.lost(err, renamed)
		}
	}
}

// lost records that some events were not delivered.
func (f *File[T]) lost(err error, renamed renames) {
	f.config.Log.V(4).Info("File events were lost", "err", err)
	renamed.note(fsnotify.Event{})
}

// files returns the files on which the value depends, sorted.
func (f *File[T]) files() []string {
	f.checking.Lock()
	defer f.checking.Unlock()
	return f.names()
}

func (f *File[T]) names() []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(f.known)), maps.Keys(f.changed))
	slices.Sort(all)
	return slices.Compact(all)
}

// Check checks the files once, without events, and returns when to check again. Tests
// call it in place of Run.
func (f *File[T]) Check(ctx context.Context) time.Duration { return f.check(ctx, nil) }

func (f *File[T]) check(ctx context.Context, renamed renames) time.Duration {
	f.checking.Lock()
	defer f.checking.Unlock()
	next, busy, errs := f.detectChanges(renamed)
	if busy {
		return next
	}
	err := errors.Join(errs...)
	reload := err == nil && !sameFiles(f.known, f.made)
	var unsettled bool
	if reload {
		unsettled, err = f.reload(ctx)
	}
	switch {
	case unsettled:
		return min(next, Settle)
	case f.setError(err):
		f.config.Log.Error(err, "A changed file cannot be used; the previous content stays in use", "flag", f.config.Name)
	case reload && err == nil:
		f.config.Log.Info("Reloaded", "flag", f.config.Name)
	}
	return next
}

// detectChanges updates known. busy means that a file may still be being written; the others
// then wait for it, because they may belong together. errs are the reasons why files
// do not take effect.
func (f *File[T]) detectChanges(renamed renames) (next time.Duration, busy bool, errs []error) {
	now := f.config.Clock.Now()
	next = Every
	for _, name := range f.names() {
		known := f.known[name]
		s, _, _ := f.readState(name)
		if s.same(known) {
			known.path = s.path
			f.known[name] = known
			delete(f.changed, name)
			delete(renamed, filepath.Clean(name))
			continue
		}
		c, ok := f.changed[name]
		if !ok {
			c.first = now
		}
		if !ok || !s.same(c.state) {
			c.state, c.since = s, now
		}
		wait := Settle
		switch {
		case s.path != "" && known.path != "" && s.path != known.path && !c.gone:
			wait = 0 // a link leads elsewhere
		case renamed[filepath.Clean(name)]:
			wait = burst
		}
		c.gone = c.gone || s.err != "" || s.empty
		f.changed[name] = c
		switch left := wait - now.Sub(c.since); {
		case left > 0 && now.Sub(c.first) >= Every:
			errs = append(errs, fmt.Errorf("%q keeps changing; it takes effect when it has stayed the same for %v", name, Settle))
			next = min(next, left)
		case left > 0:
			next, busy = min(next, left), true
		case s.empty:
			errs = append(errs, emptyError(name))
		default:
			f.known[name] = s
			delete(f.changed, name)
			delete(renamed, filepath.Clean(name))
		}
	}
	return next, busy, errs
}

// reload makes a value from the known files. unsettled means that Load reads a file
// that is not known yet.
func (f *File[T]) reload(ctx context.Context) (unsettled bool, err error) {
	v, read, unsettled, err := f.load(ctx, true)
	if err != nil || unsettled {
		maps.Copy(f.known, read) // continue to follow the files that were read before
		return unsettled, err
	}
	f.known, f.made = read, maps.Clone(read)
	maps.DeleteFunc(f.changed, func(name string, _ change) bool { _, ok := read[name]; return !ok })
	old := f.value.Swap(&v)
	if f.config.Use != nil {
		f.config.Use(*old, v)
	}
	return false, nil
}

// load calls Load. read has the states of the files that it read.
func (f *File[T]) load(ctx context.Context, settled bool) (v T, read map[string]state, unsettled bool, err error) {
	read = map[string]state{}
	v, err = f.config.Load(ctx, func(name string) ([]byte, error) {
		s, text, err := f.readState(name)
		if known := f.known[name]; settled && !s.same(known) {
			if _, ok := f.changed[name]; !ok {
				now := f.config.Clock.Now()
				f.changed[name] = change{state: s, since: now, first: now}
			}
			unsettled = true
			return nil, fmt.Errorf("%q: %w", name, errUnsettled)
		}
		if s.empty {
			return nil, emptyError(name)
		}
		read[name] = s
		return text, err
	})
	return v, read, unsettled, err
}

// readState reads a file. The text is nil if there is an error, which names the file.
func (f *File[T]) readState(name string) (state, []byte, error) {
	path, err := filepath.EvalSymlinks(name)
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path) //nolint:gosec // the operator names it
	}
	if err != nil {
		if reason := (*fs.PathError)(nil); errors.As(err, &reason) {
			err = &fs.PathError{Op: "open", Path: name, Err: reason.Err}
		}
		return state{err: err.Error()}, nil, err
	}
	return state{digest: f.digest(text), empty: blankText(text), path: path}, text, nil
}

func (f *File[T]) digest(text []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, f.key[:])
	_, _ = h.Write(text)
	h.Sum(sum[:0])
	return sum
}

// blankText reports whether a file is empty or has only white space.
func blankText(text []byte) bool { return len(bytes.TrimSpace(text)) == 0 }

func emptyError(name string) error { return fmt.Errorf("%q is empty", name) }

func sameFiles(a, b map[string]state) bool { return maps.EqualFunc(a, b, state.same) }
