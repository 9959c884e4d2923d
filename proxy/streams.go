package proxy

import (
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// streamSet knows the answers under way that end only when someone ends them:
// watches and upgraded connections. A drain ends them.
type streamSet struct {
	mu     sync.Mutex // guards the rest
	active map[*stream]struct{}
	open   [streamKinds]int
	idle   chan struct{} // closed when nothing is active, once wanted
}

type stream struct {
	kind streamKind
	end  func()
	// admission is what admitted it; nil: it is not decided about again. next is
	// when it will be, checking that it is now.
	admission *admission
	next      time.Time
	checking  bool
}

// streamKind is what a stream is.
type streamKind int

const (
	watchStream streamKind = iota
	upgradeStream
	streamKinds // how many there are
)

// String is a metric's label.
func (k streamKind) String() string { return [streamKinds]string{"watch", "upgrade"}[k] }

func newStreamSet() *streamSet { return &streamSet{active: map[*stream]struct{}{}} }

// add registers a stream that end ends. The function returned says that it is
// over; it may be called again.
func (s *streamSet) add(kind streamKind, end func(), a *admission) (done func()) {
	st := &stream{kind: kind, end: end, admission: a}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active[st] = struct{}{}
	s.open[kind]++
	return func() { s.remove(st) }
}

func (s *streamSet) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.active[st]; !ok {
		return
	}
	delete(s.active, st)
	s.open[st.kind]--
	if len(s.active) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// counts says how many streams there are of each kind.
func (s *streamSet) counts() [streamKinds]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// body makes a watch's body one that can be ended from here, as if the
// upstream had ended it.
func (s *streamSet) body(rc io.ReadCloser, a *admission) io.ReadCloser {
	b := &streamBody{ReadCloser: rc}
	b.done = s.add(watchStream, b.end, a)
	return b
}

// drain ends all streams at random moments within window, so that their
// clients don't come back all at once, and returns when they are over or when
// give closes. Streams that begin meanwhile are not ended.
func (s *streamSet) drain(window time.Duration, give <-chan struct{}) {
	s.mu.Lock()
	var timers []*time.Timer
	for st := range s.active {
		timers = append(timers, time.AfterFunc(rand.N(max(window, 1)), st.end)) //nolint:gosec // jitter
	}
	idle := make(chan struct{})
	if len(s.active) == 0 {
		close(idle)
	} else {
		s.idle = idle
	}
	s.mu.Unlock()
	select {
	case <-idle:
	case <-give:
	}
	for _, t := range timers {
		t.Stop()
	}
}

// streamBody is a response body that end ends.
type streamBody struct {
	io.ReadCloser
	ended atomic.Bool
	done  func()
}

func (b *streamBody) end() {
	b.ended.Store(true)
	_ = b.ReadCloser.Close() // net/http lets a body be closed while it is read
}

// Read implements io.Reader.
func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.ended.Load() {
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (b *streamBody) Close() error {
	b.done()
	return b.ReadCloser.Close()
}
