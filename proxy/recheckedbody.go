package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// recheckedBody is the body of a response of unknown length that is not a watch, such as an
// event stream or a long download. Once it has lasted for a while, the credential is
// rechecked from time to time, as for watches. Nothing else ends it, because it may
// be a download that must not be interrupted.
type recheckedBody struct {
	io.ReadCloser
	streams    *streamSupervisor
	admittedBy *streamAuthn
	timer      *time.Timer
	cut        atomic.Bool

	mu     sync.Mutex // guards what follows
	over   bool
	stream *stream // nil until it has lasted for a while, and so is rechecked
}

// newRecheckedBody puts one in place of the body of res; nil: a is nil, and there is
// nothing to recheck.
func (ss *streamSupervisor) newRecheckedBody(res *http.Response, a *streamAuthn) *recheckedBody {
	if a == nil {
		return nil
	}
	b := &recheckedBody{ReadCloser: res.Body, streams: ss, admittedBy: a}
	now := time.Now()
	b.timer = time.AfterFunc(a.soonest(now, ss.recheckPeriod).Sub(now), b.beginRechecks)
	res.Body = b
	return b
}

// beginRechecks registers the response as a stream, unless it has ended.
func (b *recheckedBody) beginRechecks() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		// net/http lets a body be closed while it is read: the client's answer breaks off.
		b.stream = b.streams.set.add(&stream{kind: answerStream, end: b.breakOff, admittedBy: b.admittedBy, next: time.Now()})
	}
}

func (b *recheckedBody) breakOff() {
	b.cut.Store(true)
	_ = b.Close()
}

func (b *recheckedBody) Read(to []byte) (int, error) {
	n, err := b.ReadCloser.Read(to)
	if errors.Is(err, io.EOF) && b.cut.Load() {
		err = io.ErrUnexpectedEOF // or the client would take it for a whole answer
	}
	return n, err
}

// end is called when the answer is over; a nil body is not rechecked, and has no end.
func (b *recheckedBody) end() {
	if b == nil {
		return
	}
	b.timer.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over = true; b.stream != nil {
		b.streams.set.remove(b.stream)
	}
}
