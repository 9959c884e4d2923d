package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"frontproxy/proxy/watchframes"
)

// watch is the body of a watch's answer, on its way to the client. ReverseProxy sends
// only the headers. A goroutine that waits keeps its stack, and watches are many and
// mostly wait: so the body is copied where the stack is short, at the end of serve or in
// a goroutine of its own (hijackedwatch.go).
type watch struct {
	answer *http.Response // for its trailers
	body   io.ReadCloser
	stream *stream
	begun  bool // copyWatch was called
	ended  atomic.Bool
	move   watchMove
}

// captureWatchBody takes the body of a watch's answer out of ReverseProxy's hands, which gets
// an empty one. finish closes it.
func (x *exchange) captureWatchBody(res *http.Response) {
	s := &watch{answer: res, body: res.Body}
	if x.p.moves != nil {
		s.move.begin(watchframes.Of(x.inbound.Header, res.Header), x.inbound.URL.RawQuery, time.Now())
	}
	s.stream = x.p.streams.add(watchStream, s.end, x.streamAuthn(x.inbound))
	x.followMoves(s.stream, s)
	x.watch = s
	res.Body, res.ContentLength = http.NoBody, 0
}

// closeWatch frees what the watch holds, if the request is one.
func (x *exchange) closeWatch() {
	if x.watch != nil {
		x.p.streams.remove(x.watch.stream)
		_ = x.watch.body.Close()
	}
	if x.detached != nil {
		x.detached.end()
	}
}

// end ends the answer as if the upstream had.
func (s *watch) end() {
	s.ended.Store(true)
	s.lookAgain()
	_ = s.body.Close() // net/http lets a body be closed while it is read
}

// responseWriter is where a watch goes.
type responseWriter interface {
	// send sends the n bytes of buf from chunkHead on, and may change the rest.
	send(buf []byte, n int) error
	// close ends the answer with what came after the body.
	close(trailer http.Header) error
}

// copyWatch copies the watch's body to the client until it ends; it does nothing if the
// answer is no watch or its body has been copied. True: a goroutine of its own copies the
// body, and owns the exchange from now on.
func (x *exchange) copyWatch(w http.ResponseWriter) (left bool) {
	if x.watch == nil || x.watch.begun {
		return false
	}
	x.watch.begun = true
	x.watch.answer.Header, x.watch.answer.Request = nil, nil // the transport keeps the answer
	flush := http.NewResponseController(w)
	if flush.Flush() == nil && x.detached != nil && x.detach(flush) {
		return true
	}
	if x.copy(serverWriter{w, flush}) != nil {
		panic(http.ErrAbortHandler)
	}
	return false
}

// copy sends the watch's body to the client as it arrives, until it ends. It returns an
// error when the body broke off or the client is gone.
//
// Its buffer is small, and large after a read that filled it: a watch that waits holds
// only a small one.
func (x *exchange) copy(to responseWriter) error {
	buf := x.p.smallBuffers.Get()
	for {
		n, err := x.watch.body.Read(buf[chunkHead : len(buf)-chunkTail])
		if n > 0 {
			last, err := x.send(to, buf, n)
			if err != nil || last {
				x.p.giveBack(buf)
			}
			if err != nil {
				return err
			}
			if last {
				return x.tellMoved(to)
			}
		}
		if err != nil {
			x.p.giveBack(buf)
			return x.finishWatch(to, err)
		}
		if full := n == len(buf)-chunkHead-chunkTail; full != (len(buf) > streamBuffer) {
			buf = x.p.swapped(full, buf)
		}
	}
}

// send sends what was read. last says that the ERROR event of a move follows.
func (x *exchange) send(to responseWriter, buf []byte, n int) (last bool, err error) {
	if count := x.traffic.Received; count != nil {
		count.Add(float64(n))
	}
	move := &x.watch.move
	if n = move.read(buf[chunkHead : chunkHead+n]); n > 0 {
		err = to.send(buf, n)
	}
	return move.sent(), err
}

// finishWatch ends the answer after a read has returned err.
func (x *exchange) finishWatch(to responseWriter, err error) error {
	clean := errors.Is(err, io.EOF)
	if !x.watch.move.due.Load() {
		x.awaitMove(clean)
	}
	if x.watch.move.due.Load() && !x.watch.ended.Load() {
		return x.tellMoved(to)
	}
	if !clean && !x.watch.ended.Load() {
		x.download.broken = true
		return err
	}
	return to.close(x.watch.answer.Trailer)
}

func (p *Proxy) giveBack(buf []byte) {
	if len(buf) > streamBuffer {
		p.buffers.Put(buf)
	} else {
		p.smallBuffers.Put(buf)
	}
}

// swapped gives buf back for a large buffer, or a small one.
func (p *Proxy) swapped(large bool, buf []byte) []byte {
	p.giveBack(buf)
	if large {
		return p.buffers.Get()
	}
	return p.smallBuffers.Get()
}

// serverWriter sends a watch through net/http.
type serverWriter struct {
	http.ResponseWriter
	flush *http.ResponseController
}

func (a serverWriter) send(buf []byte, n int) error {
	if _, err := a.Write(buf[chunkHead : chunkHead+n]); err != nil {
		return err
	}
	return a.flush.Flush()
}

func (a serverWriter) close(trailer http.Header) error {
	for key, values := range trailer {
		a.Header()[http.TrailerPrefix+key] = values
	}
	return nil
}
