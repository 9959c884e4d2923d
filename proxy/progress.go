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

	timer *time.Timer

	mu      sync.Mutex // guards what follows
	begun   time.Time  // when the step under way began; zero: none is
	spent   time.Duration
	moved   int // in spent
	expired bool
	stopped bool
}

// begin is called before a step that may wait.
func (p *progressDeadline) begin() {
	p.mu.Lock()
	p.begun = time.Now()
	left := p.timeout - p.spent
	p.mu.Unlock()
	if p.timer == nil {
		p.timer = time.AfterFunc(left, p.fire)
	} else {
		p.timer.Reset(left)
	}
}

// end is called when the step has returned and moved n bytes. It returns an error when
// the time was up.
func (p *progressDeadline) end(n int) error {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent += time.Since(p.begun)
	p.begun = time.Time{}
	if p.moved += n; p.moved >= p.quota {
		p.spent, p.moved = 0, 0
	}
	if p.expired {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (p *progressDeadline) fire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopped || p.expired || p.begun.IsZero():
	case time.Since(p.begun) < p.timeout-p.spent: // it was meant for an earlier step
	default:
		p.expired = true
		p.cut()
	}
}

// stop turns the limit off, even for a step that is under way.
func (p *progressDeadline) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
}

// timedOut says whether a step was cut.
func (p *progressDeadline) timedOut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.expired
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)
