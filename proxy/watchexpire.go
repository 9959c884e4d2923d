package proxy

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"frontproxy/index"
	"frontproxy/proxy/requestinfo"
	"frontproxy/proxy/watchframes"
)

const (
	// frameWait is how long a frame that has begun may take to end before the watch is
	// cut within it.
	frameWait = 5 * time.Second
	// moveGrace is how long a watch that its shard has ended early waits for the first
	// sign of a move: a shard ends the watches of a cluster when it begins to move, and
	// the event that tells of that comes on another connection.
	moveGrace = time.Second
	// watchTimeout is how long a watch lasts at most when its client does not say so:
	// kube-apiserver ends it after 30 to 60 minutes.
	watchTimeout = 30 * time.Minute
)

// errMoved ends the client's connection, or its HTTP/2 stream: the watch is worthless, and
// nothing can be put into it that says so.
var errMoved = errors.New("the logical cluster has moved to another shard")

// watchMove is what a watch needs in order to end with an ERROR event when its logical
// cluster has moved to another shard. The goroutine that copies the watch owns it, but for
// expire and lookAgain. Without begin, nothing can be put into the watch, and it does not
// wait for moves.
type watchMove struct {
	position watchframes.Position // of what has been read
	timeout  time.Time            // when the shard ends the watch, or the client wants that

	due   atomic.Bool // the client is to get the ERROR event
	quiet atomic.Bool // all that was read has been sent, and ends with a frame

	mu   sync.Mutex
	wake chan struct{} // nil: nobody waits
}

// begin must be called before the first read; query is the request's.
func (m *watchMove) begin(f watchframes.Framing, query string, now time.Time) {
	timeout := watchTimeout
	if s, err := strconv.ParseUint(requestinfo.First(query, "timeoutSeconds"), 10, 31); err == nil && s > 0 {
		timeout = time.Duration(s) * time.Second //nolint:gosec // 31 bits
	}
	m.position, m.timeout = watchframes.At(f), now.Add(timeout)
	m.quiet.Store(m.position.BetweenFrames())
}

// expire has the watch end with an ERROR event as soon as a frame ends, or be cut where no
// event can be put between frames.
func (s *watch) expire() {
	if s.move.due.Swap(true) {
		return
	}
	s.lookAgain()
	if s.move.position.Framing() == watchframes.Unknown || s.move.quiet.Load() {
		_ = s.body.Close() // net/http lets a body be closed while it is read
		return
	}
	time.AfterFunc(frameWait, func() { _ = s.body.Close() })
}

// lookAgain wakes the watch if it waits for a move to end.
func (s *watch) lookAgain() {
	if s == nil {
		return
	}
	s.move.mu.Lock()
	defer s.move.mu.Unlock()
	if s.move.wake != nil {
		select {
		case s.move.wake <- struct{}{}:
		default:
		}
	}
}

// read says how much of what was read is to be sent: when the ERROR event is due, at most
// the rest of a frame.
func (m *watchMove) read(data []byte) (n int) {
	m.quiet.Store(false)
	switch {
	case !m.due.Load():
		m.position.Advance(data)
		return len(data)
	case m.position.BetweenFrames():
		return 0
	}
	return m.position.FinishFrame(data)
}

// sent says, after that has been sent, whether the ERROR event follows.
func (m *watchMove) sent() (last bool) {
	between := m.position.BetweenFrames()
	m.quiet.Store(between)
	return between && m.due.Load()
}

// writeExpiredEvent ends the answer with the ERROR event, or returns an error if the client must
// be cut off.
func (s *watch) writeExpiredEvent(to responseWriter) error {
	if !s.move.position.BetweenFrames() {
		return errMoved
	}
	frame := s.streams.moveErrors[s.move.position.Framing()]
	buf := s.streams.buffers.small.Get()
	defer s.streams.buffers.put(buf)
	if err := to.send(buf, copy(buf[chunkHead:len(buf)-chunkTail], frame)); err != nil {
		return err
	}
	return to.close(nil)
}

// awaitMove keeps the watch, which its shard has ended, while its cluster is moving: the
// client then gets the ERROR event once the cluster has settled, instead of finding out
// what works by itself. A watch that was ended in the ordinary way is not kept.
func (s *watch) awaitMove(clean bool) {
	if s.streams.moves == nil || s.stream.shard == "" || s.ended.Load() {
		return
	}
	left := time.Until(s.move.timeout)
	if left < moveGrace {
		return
	}
	s.move.mu.Lock()
	s.move.wake = make(chan struct{}, 1)
	s.move.mu.Unlock()
	over, grace := time.NewTimer(left), time.NewTimer(moveGrace)
	defer over.Stop()
	defer grace.Stop()
	sign := grace.C
	if !clean {
		sign = nil
	}
	for !s.move.due.Load() && !s.ended.Load() {
		switch state := s.streams.moves.MoveState(s.stream.cluster, s.stream.shard); {
		case state != index.NotMoving:
			sign = nil
		case sign == nil:
			return
		}
		select {
		case <-s.move.wake:
		case <-sign:
			return
		case <-over.C:
			return
		case <-s.gone:
			return
		}
	}
}
