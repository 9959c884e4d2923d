package proxy

import (
	"cmp"
	"errors"
	"io"
	"math"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
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

// renew makes one that was stopped, and cut nothing, as good as new. Its timer may
// still be about to fire.
func (p *progressDeadline) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent, p.moved, p.stopped = 0, 0, false
}

// http2Writer is the ResponseWriter of an HTTP/2 stream. A client that grants no flow
// control window can stall one stream while its connection makes progress. Answers over
// HTTP/1.1 have the deadline of their connection (connections.go).
type http2Writer struct {
	http.ResponseWriter
	progressDeadline
	unflushed bool
}

// serveHTTP2 serves a request over HTTP/2.
func (p *Proxy) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	s := p.http2Writers.Get().(*http2Writer)
	s.ResponseWriter = w
	p.serveHTTP(s, r)
	if s.unflushed {
		// net/http would flush after the handler has returned, and nothing would bound that.
		_ = s.FlushError()
	}
	s.stop()
	if !s.timedOut() { // a cut is under way, or was
		s.ResponseWriter = nil
		s.renew()
		p.http2Writers.Put(s)
	}
}

func (p *Proxy) newHTTP2Writer() *http2Writer {
	s := &http2Writer{progressDeadline: progressDeadline{timeout: p.ProgressTimeout, quota: progressBytes}}
	s.cut = func() { _ = http.NewResponseController(s.ResponseWriter).SetWriteDeadline(past) }
	return s
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// Write implements http.ResponseWriter.
func (s *http2Writer) Write(b []byte) (int, error) {
	s.unflushed = true
	s.begin()
	n, err := s.ResponseWriter.Write(b)
	return n, cmp.Or(s.end(n), err)
}

// FlushError is what http.ResponseController calls.
func (s *http2Writer) FlushError() error {
	s.unflushed = false
	s.begin()
	err := http.NewResponseController(s.ResponseWriter).Flush()
	return cmp.Or(s.end(0), err)
}

// Flush implements http.Flusher.
func (s *http2Writer) Flush() { _ = s.FlushError() }

// Unwrap is for http.ResponseController.
func (s *http2Writer) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// requestBody is a request's body. While a read waits for the client, the request does not
// count as running.
type requestBody struct {
	io.ReadCloser
	progressDeadline
	charges *charges
	http1   bool
	left    int64         // of its declared length; negative: none was declared
	ended   bool          // nothing more will come
	answer  chan struct{} // closed when the answer is over; nil: none came before the body's end
	over    bool          // answer is closed

	gone <-chan struct{} // closed when the client is
	came atomic.Int64    // bytes of the answer
	// givenUp: the answer is ended here, and not by the upstream.
	givenUp atomic.Bool
}

// newRequestBody makes one of r, which w answers.
func newRequestBody(w http.ResponseWriter, r *http.Request, timeout time.Duration, held *charges) *requestBody {
	connection := http.NewResponseController(w)
	b := &requestBody{ReadCloser: r.Body, charges: held, http1: r.ProtoMajor == 1, left: r.ContentLength, gone: r.Context().Done()}
	b.timeout, b.quota, b.cut = timeout, progressBytes, func() { _ = connection.SetReadDeadline(past) }
	if isBuffered(r) {
		b.quota = math.MaxInt // all of it
	}
	return b
}

// Read implements io.Reader. A body that breaks off, or ends before its declared
// length, does so for the transport only when the answer is over (answered).
func (b *requestBody) Read(to []byte) (int, error) {
	b.charges.beginClientWait()
	b.begin()
	n, err := b.ReadCloser.Read(to)
	if late := b.end(n); late != nil && err != nil {
		err = late
	}
	b.charges.endClientWait()
	b.mu.Lock()
	if b.left > 0 {
		b.left -= int64(n)
	}
	b.ended = b.ended || err != nil
	answer, whole := b.answer, errors.Is(err, io.EOF) && b.left <= 0
	b.mu.Unlock()
	if err != nil && !whole && answer != nil {
		b.awaitEnd(answer)
	}
	return n, err
}

// awaitEnd returns when the answer is over, or when it is no use to wait for its end: the
// client is gone, which the transport notices only after the upload, or nothing has come
// for timeout, perhaps because the upstream waits for the rest of the upload.
func (b *requestBody) awaitEnd(answer <-chan struct{}) {
	tick := time.NewTicker(b.timeout)
	defer tick.Stop()
	for came := b.came.Load(); ; {
		select {
		case <-answer:
			return
		case <-b.gone:
			return
		case <-tick.C:
		}
		before := came
		if came = b.came.Load(); came == before {
			b.givenUp.Store(true)
			return
		}
	}
}

// answered is called when the upstream's answer has come, and returns what to read
// its body from. A client that is answered may stop its upload, as curl does for a
// status of 400 or above, and still reads the answer; and over HTTP/1.1 net/http
// reads some of the upload itself when it sends the answer's headers. The transport
// closes the connection to the upstream when it cannot read what it sends, and the
// rest of the answer would be lost; so it learns of it when the answer is over. A
// nil body is none.
func (b *requestBody) answered(answer io.ReadCloser) io.ReadCloser {
	if b == nil || answer == http.NoBody {
		return answer
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return answer
	}
	b.answer = make(chan struct{})
	return &earlyAnswer{answer, b}
}

// expects says whether more of the body may come. A nil body is none.
func (b *requestBody) expects() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.ended && b.left != 0
}

// answerOver ends all waiting in Read: for the end of the answer, if the body is broken,
// and for the client. If no Read is under way over HTTP/1.1, the connection is left alone:
// it may serve another request.
func (b *requestBody) answerOver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answer == nil || b.over {
		return
	}
	b.over = true
	close(b.answer)
	awaited := !b.begun.IsZero() || !b.http1
	if awaited && !b.ended && !b.stopped {
		b.cut()
	}
}

// earlyAnswer is the body of an answer that came before the end of upload.
type earlyAnswer struct {
	io.ReadCloser
	upload *requestBody
}

// Read implements io.Reader. Over HTTP/1.1 net/http notices that a client is gone by
// reading from it, and once the answer's headers are sent it reads no more of an upload:
// so the answer is given up when nothing comes for timeout, because the client may be gone.
func (a *earlyAnswer) Read(to []byte) (int, error) {
	if a.upload.http1 {
		defer time.AfterFunc(a.upload.timeout, a.giveUp).Stop()
	}
	n, err := a.ReadCloser.Read(to)
	a.upload.came.Add(int64(n))
	return n, err
}

// giveUp ends the answer while it is read, which net/http allows.
func (a *earlyAnswer) giveUp() {
	a.upload.givenUp.Store(true)
	_ = a.Close()
}

// Close implements io.Closer. Over HTTP/2 the transport waits there for the upload.
func (a *earlyAnswer) Close() error {
	a.upload.answerOver()
	return a.ReadCloser.Close()
}

// leave is called when the proxy reads no more of the body. net/http may still read,
// before it answers and before the next request on an HTTP/1.1 connection.
func (b *requestBody) leave(w http.ResponseWriter) {
	b.stop()
	if b.remains() {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(b.timeout)) // a writer that has none is a test's
	}
}

// remains says that the connection is HTTP/1.1, and may still bring some of the
// body. A nil body is none.
func (b *requestBody) remains() bool {
	if b == nil || !b.http1 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.ended
}
