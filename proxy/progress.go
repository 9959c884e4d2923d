package proxy

import (
	"os"
	"sync"
	"time"
)

// A client may take any time in total, but it must make progress: the proxy waits at
// most defaultProgressTimeout for it to send progressBytes of a request's body, or to
// read the piece of its answer that is being written (32 KiB at most). A body that the
// proxy reads before it forwards the request (bufferBody) must arrive as a whole in that
// time, because the decision that admits its sender must not become old. Time in which
// the proxy waits for an upstream, or has nothing to send, does not count: watches, event
// streams and slow shards are never cut for being silent.
const (
	defaultProgressTimeout = time.Minute
	progressBytes          = 4 << 10
)

// progressDeadline bounds how long a client may keep the proxy waiting for one direction of its
// connection or stream. Each step that may wait is put between begin and end, one at a
// time.
type progressDeadline struct {
	timeout time.Duration
	// quota is how many bytes have to move in that time.
	quota int
	// cut makes the step under way return. It is called once at most, by another
	// goroutine, and never after stop.
	cut func()

	mu        sync.Mutex    // guards what follows
	timer     *time.Timer   // nil: there was no step yet
	set       bool          // timer will fire, not later than the step under way has to be cut
	waiting   bool          // a step is under way
	first     time.Time     // when the first step began
	stepStart time.Duration // after first, when the step under way began
	spent     time.Duration
	moved     int // in spent
	expired   bool
	stopped   bool
}

// begin is called before a step that may wait. Steps are many and short, and to set a timer
// costs more than most of them: so end leaves the timer as it is, and fire sets it again if a
// later step is under way.
func (p *progressDeadline) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = true
	if p.first.IsZero() {
		p.first = time.Now()
	} else {
		p.stepStart = time.Since(p.first) // costs half of what Now does
	}
	if !p.set && !p.stopped {
		p.setTimer(p.timeout - p.spent)
	}
}

// setTimer lets the timer fire after d. The caller holds mu.
func (p *progressDeadline) setTimer(d time.Duration) {
	p.set = true
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.fire)
	} else {
		p.timer.Reset(d)
	}
}

// end is called when the step has returned and moved n bytes. It returns an error when
// the time was up.
func (p *progressDeadline) end(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = false
	if p.moved += n; p.moved >= p.quota {
		p.spent, p.moved = 0, 0
	} else {
		p.spent += time.Since(p.first) - p.stepStart
	}
	if p.expired {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (p *progressDeadline) fire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set = false
	if p.stopped || p.expired || !p.waiting {
		return
	}
	if left := p.timeout - p.spent - (time.Since(p.first) - p.stepStart); left > 0 { // it was set for an earlier step
		p.setTimer(left)
		return
	}
	p.expired = true
	p.cut()
}

// stop turns the limit off, even for a step that is under way. Without it, the timer would
// keep what cut refers to in memory for timeout.
func (p *progressDeadline) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// timedOut reports whether a step was cut.
func (p *progressDeadline) timedOut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expired
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)
