package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// endless is the body of a response of unknown length that is not a watch, such as an
// event stream or a long download. Once it has lasted for a while, the credential is
// rechecked from time to time, as for watches. Nothing else ends it, because it may
// be a download that must not be interrupted.
type endless struct {
	io.ReadCloser
	p         *Proxy
	admission *streamAuthn
	timer     *time.Timer
	cut       atomic.Bool

	mu     sync.Mutex // guards what follows
	over   bool
	stream *stream // nil until it has lasted for a while, and so is rechecked
}

// followEndless puts an endless in place of the body of res; nil: a is nil, and there is
// nothing to recheck.
func (p *Proxy) followEndless(res *http.Response, a *streamAuthn) *endless {
	if a == nil {
		return nil
	}
	e := &endless{ReadCloser: res.Body, p: p, admission: a}
	now := time.Now()
	e.timer = time.AfterFunc(a.soonest(now, p.recheckPeriod).Sub(now), e.lasts)
	res.Body = e
	return e
}

func (e *endless) lasts() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		// net/http lets a body be closed while it is read: the client's answer breaks off.
		e.stream = e.p.streams.addDue(answerStream, e.breakOff, e.admission)
	}
}

func (e *endless) breakOff() {
	e.cut.Store(true)
	_ = e.Close()
}

// Read implements io.Reader.
func (e *endless) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) && e.cut.Load() {
		err = io.ErrUnexpectedEOF // or the client would take it for a whole answer
	}
	return n, err
}

// end is for when the answer is over. A nil endless is none.
func (e *endless) end() {
	if e == nil {
		return
	}
	e.timer.Stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over = true; e.stream != nil {
		e.p.streams.remove(e.stream)
	}
}
