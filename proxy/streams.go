package proxy

import (
	"container/list"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// streamSet knows the answers under way that end only when someone ends them:
// watches and upgraded connections. A drain ends them.
type streamSet struct {
	mu     sync.Mutex // guards the rest
	active map[*stream]struct{}
	open   [streamKinds]int
	begun  int           // since the start
	idle   chan struct{} // closed when nothing is active, once wanted

	rechecks recheckQueue
}

type stream struct {
	kind streamKind
	end  func()
	conn io.Closer // the client's connection, when the stream has it; else nil
	// admission is what admitted it; nil: it is not decided about again. next is
	// when it will be.
	admission *streamAuthn
	next      time.Time

	// What follows is the recheckQueue's. payer is nil when the stream neither waits
	// to be decided about nor is; queued is its place among those that wait, else nil;
	// slow says that its last recheck took long.
	payer  *recheckPayer
	queued *list.Element
	slow   bool
}

// streamKind is what a stream is.
type streamKind int

const (
	watchStream streamKind = iota
	upgradeStream
	// answerStream is a response of unknown length that is not a watch and has lasted
	// for a while. It may have an end, for which a drain waits.
	answerStream
	streamKinds // how many there are
)

// String is a metric's label.
func (k streamKind) String() string { return [streamKinds]string{"watch", "upgrade", "answer"}[k] }

func newStreamSet() *streamSet { return &streamSet{active: map[*stream]struct{}{}} }

// add registers a stream that end ends, until remove.
func (s *streamSet) add(kind streamKind, end func(), a *streamAuthn) *stream {
	st := &stream{kind: kind, end: end, admission: a}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active[st] = struct{}{}
	s.open[kind]++
	if kind != answerStream {
		s.begun++
	}
	return st
}

// addDue is add for a stream that is to be decided about at once.
func (s *streamSet) addDue(kind streamKind, end func(), a *streamAuthn) *stream {
	st := s.add(kind, end, a)
	s.mu.Lock()
	defer s.mu.Unlock()
	st.next = time.Now()
	return st
}

// remove forgets a stream that is over; it may be called again.
func (s *streamSet) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.active[st]; !ok {
		return
	}
	delete(s.active, st)
	s.rechecks.remove(st)
	s.open[st.kind]--
	if s.lasting() == 0 && s.idle != nil {
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

// numbers says how many streams have begun, and how many of them are open.
func (s *streamSet) numbers() (begun, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun, s.lasting()
}

// lasting are the streams that have no end of their own. The caller holds mu.
func (s *streamSet) lasting() int { return s.open[watchStream] + s.open[upgradeStream] }

// detached notes that a stream has a client's connection of its own.
func (s *streamSet) detached(st *stream, conn io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.conn = conn
}

// cut closes the connections that streams have of their own.
func (s *streamSet) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.active {
		if st.conn != nil {
			go st.conn.Close() //nolint:errcheck // it may wait for a client that does not read
		}
	}
}

// drain ends all streams at random moments within window, so that their
// clients don't come back all at once, and returns when they are over or when
// give closes. Streams that begin meanwhile are not ended.
func (s *streamSet) drain(window time.Duration, give <-chan struct{}) {
	s.mu.Lock()
	var timers []*time.Timer
	for st := range s.active {
		if st.kind == answerStream {
			continue
		}
		timers = append(timers, time.AfterFunc(rand.N(max(window, 1)), st.end)) //nolint:gosec // jitter
	}
	idle := make(chan struct{})
	if s.lasting() == 0 {
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
