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
	// Settle is for how long a file that was written in place must stay as it is
	// before it is taken.
	Settle = 5 * time.Second
	// Every is how often files are looked at without an event; a file that does not
	// settle for so long is reported.
	Every = time.Minute
	// burst is how long events are waited for after one, and for how long a file
	// that was renamed to its name must stay as it is.
	burst = 100 * time.Millisecond
)

// ReadFunc returns the content of a file that may be believed. The error names
// the file.
type ReadFunc func(name string) ([]byte, error)

// Config of a File.
type Config[T any] struct {
	// Name is what logs call the files: the flag that names them.
	Name string
	// Load makes a value of files. It reads them by read alone: these are the files
	// that are followed from then on. An error keeps the value in use.
	Load func(ctx context.Context, read ReadFunc) (T, error)
	// Use is called with every value but the first, and the one before it, when Get
	// returns it; nil: nobody wants to know.
	Use func(old, next T)
	// Clock is the time; nil means the real one.
	Clock clock.Clock
	// Log gets a line for every reload and for every new reason why there is none.
	// The zero Logger is silent.
	Log klog.Logger
}

// File is a value made of one or more files, followed while Run runs. Safe for
// concurrent use.
type File[T any] struct {
	config Config[T]
	key    [sha256.Size]byte // of digests: a secret's says nothing about it
	value  atomic.Pointer[T]
	status status
	wake   chan struct{}

	looking sync.Mutex // serializes Look; guards what follows
	// known is the last state of each file that was believed, whether or not it
	// could be used; made is what the value in use was made of.
	known, made map[string]state
	changed     map[string]change // files that are not as known
}

// state of a file when it was read.
type state struct {
	digest [sha256.Size]byte // zero: it could not be read
	err    string            // why not
	empty  bool
	path   string // without symbolic links
}

// same says whether a reader would find no difference.
func (s state) same(o state) bool {
	return s.digest == o.digest && s.err == o.err && s.empty == o.empty
}

// change is what a file has become.
type change struct {
	state        state
	since, first time.Time // when it was first seen like this, and other than known
	gone         bool      // it was missing or empty since it was as known
}

// errUnsettled is what Load gets for a file that somebody may be writing.
var errUnsettled = errors.New("the file may not be complete yet")

// New loads the value for the first time, from what stands in the files now: what
// was there before it nobody knows. An empty file is an error.
func New[T any](ctx context.Context, c Config[T]) (*File[T], error) {
	f := blank(c)
	v, read, _, err := f.load(ctx, false)
	if err != nil {
		return nil, err
	}
	f.value.Store(&v)
	f.known, f.made = read, maps.Clone(read)
	return f, nil
}

// Resume is New for a value that was already made of the given contents.
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

// LastError is why the files as they were last seen are not in use; nil when they
// are, or when that is not known yet. It waits for nothing.
func (f *File[T]) LastError() error { return f.status.lastError() }

// Reload has Run look at the files now. It does not wait for that, and changes
// nothing of what is believed.
func (f *File[T]) Reload() {
	select {
	case f.wake <- struct{}{}:
	default: // one is due anyway
	}
}

// Run follows the files until ctx ends, and returns nil.
func (f *File[T]) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		f.follow(ctx, f.files())
	}
	return nil
}

// follow follows files until ctx ends or the files are others.
func (f *File[T]) follow(ctx context.Context, files []string) {
	events, unsubscribe := subscribe(f.config.Log, files)
	defer unsubscribe()
	renamed := renames{}
	next := f.look(ctx, renamed)
	for slices.Equal(files, f.files()) {
		timer := f.config.Clock.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		case <-f.wake:
		case e := <-events:
			renamed.note(e)
			f.drain(ctx, events, renamed)
		}
		timer.Stop()
		next = f.look(ctx, renamed)
	}
}

// drain notes the events of the next moment.
func (f *File[T]) drain(ctx context.Context, events <-chan fsnotify.Event, renamed renames) {
	timer := f.config.Clock.NewTimer(burst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
			return
		case e := <-events:
			renamed.note(e)
		}
	}
}

// files are those that the value depends on, sorted.
func (f *File[T]) files() []string {
	f.looking.Lock()
	defer f.looking.Unlock()
	return f.names()
}

func (f *File[T]) names() []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(f.known)), maps.Keys(f.changed))
	slices.Sort(all)
	return slices.Compact(all)
}

// Look looks at the files once and returns when to look again; it knows of no
// events. Run does all that by itself.
func (f *File[T]) Look(ctx context.Context) time.Duration { return f.look(ctx, nil) }

func (f *File[T]) look(ctx context.Context, renamed renames) time.Duration {
	f.looking.Lock()
	defer f.looking.Unlock()
	next, busy, errs := f.see(renamed)
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
	case f.status.set(err):
		f.config.Log.Error(err, "A changed file cannot be used; the previous content stays in use", "flag", f.config.Name)
	case reload && err == nil:
		f.config.Log.Info("Reloaded", "flag", f.config.Name)
	}
	return next
}

// see brings known up to date. Busy means that a file may be being written: then
// the others wait for it, since they may belong together. Errs are why files are
// not believed.
func (f *File[T]) see(renamed renames) (next time.Duration, busy bool, errs []error) {
	now := f.config.Clock.Now()
	next = Every
	for _, name := range f.names() {
		known := f.known[name]
		s, _, _ := f.observe(name)
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

// reload makes a value of the files as known. Unsettled means that Load names a
// file which is not known yet.
func (f *File[T]) reload(ctx context.Context) (unsettled bool, err error) {
	v, read, unsettled, err := f.load(ctx, true)
	if err != nil || unsettled {
		maps.Copy(f.known, read) // what was read before is followed on
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

// load calls Load. Read are the states of the files that it read and was given.
func (f *File[T]) load(ctx context.Context, settled bool) (v T, read map[string]state, unsettled bool, err error) {
	read = map[string]state{}
	v, err = f.config.Load(ctx, func(name string) ([]byte, error) {
		s, text, err := f.observe(name)
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

// observe reads a file. The text is nil when there is an error, which names it.
func (f *File[T]) observe(name string) (state, []byte, error) {
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

// blankText says whether a file has nothing in it: white space says no more than
// nothing does.
func blankText(text []byte) bool { return len(bytes.TrimSpace(text)) == 0 }

func emptyError(name string) error { return fmt.Errorf("%q is empty", name) }

func sameFiles(a, b map[string]state) bool { return maps.EqualFunc(a, b, state.same) }
