package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/authn"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/requestinfo"
	"frontproxy/proxy/watchframes"
)

// watch is the body of a watch's answer, on its way to the client. ReverseProxy sends
// only the headers. A goroutine that waits keeps its stack, and watches are many and
// mostly wait: so the body is copied where the stack is short, at the end of serve or in
// a goroutine of its own (hijackedwatch.go).
type watch struct {
	streams     *streamSupervisor
	gone        <-chan struct{} // closed when the client has disconnected
	answer      *http.Response  // for its trailers
	body        io.ReadCloser
	stream      *stream
	received    prometheus.Counter // of the body's bytes; nil: they are not counted
	copyStarted bool               // copyWatch was called
	broken      bool               // the body broke off
	ended       atomic.Bool
	move        watchMove
}

// newWatch takes the body of res, the answer to r, out of ReverseProxy's hands, which gets an
// empty one. finish closes it. The server is at to, and d admitted r.
func (ss *streamSupervisor) newWatch(r *http.Request, res *http.Response, to *destination.Destination, d *authn.Decision, received prometheus.Counter) *watch {
	s := &watch{streams: ss, gone: r.Context().Done(), answer: res, body: res.Body, received: received}
	// Logs and other servers' answers have no events, and are over when they end.
	if ss.moves != nil && requestinfo.Of(r.Method, to.APIPath, r.URL.RawQuery).Verb == "watch" {
		s.move.begin(watchframes.Of(r.Header, res.Header), r.URL.RawQuery, time.Now())
	}
	s.stream = ss.begin(&stream{kind: watchStream, end: s.end, watch: s}, r, to, d)
	res.Body, res.ContentLength = http.NoBody, 0
	return s
}

// close frees what the watch holds; nil: nothing.
func (s *watch) close() {
	if s != nil {
		s.streams.set.remove(s.stream)
		_ = s.body.Close()
	}
}

// end ends the answer as if the upstream had. streamSet lists what makes a watch end.
func (s *watch) end() {
	s.ended.Store(true)
	s.lookAgain()
	_ = s.body.Close() // net/http lets a body be closed while it is read
}

// responseWriter is where a watch goes.
type responseWriter interface {
	// send sends the n bytes of buf from chunkHead on, and may change the rest.
	send(buf []byte, n int) error
	// close ends the answer with the trailers that came after the body.
	close(trailer http.Header) error
}

// copyWatch copies the watch's body to the client until it ends; it does nothing if the
// answer is no watch or its body has been copied. True: a goroutine of its own copies the
// body, and owns the exchange from now on.
func (x *exchange) copyWatch(w http.ResponseWriter) (left bool) {
	if x.response.watch == nil || x.response.watch.copyStarted {
		return false
	}
	x.response.watch.copyStarted = true
	x.response.watch.answer.Header, x.response.watch.answer.Request = nil, nil // the transport keeps the answer
	flush := http.NewResponseController(w)
	if flush.Flush() == nil && x.response.watchContext != nil && x.hijack(flush) {
		return true
	}
	if x.response.watch.copy(serverWriter{w, flush}) != nil {
		panic(http.ErrAbortHandler)
	}
	return false
}

// copy sends the watch's body to the client as it arrives, until it ends. It returns an
// error when the body broke off or the client is gone.
//
// Its buffer is small, and large after a read that filled it: a watch that waits holds
// only a small one.
func (s *watch) copy(to responseWriter) error {
	buf := s.streams.buffers.small.Get()
	for {
		n, err := s.body.Read(buf[chunkHead : len(buf)-chunkTail])
		if n > 0 {
			last, err := s.send(to, buf, n)
			if err != nil || last {
				s.streams.buffers.put(buf)
			}
			if err != nil {
				return err
			}
			if last {
				return s.writeExpiredEvent(to)
			}
		}
		if err != nil {
			s.streams.buffers.put(buf)
			return s.finish(to, err)
		}
		if full := n == len(buf)-chunkHead-chunkTail; full != (len(buf) > streamBuffer) {
			buf = s.streams.buffers.swap(buf, full)
		}
	}
}

// send sends what was read. last says that the ERROR event of a move follows.
func (s *watch) send(to responseWriter, buf []byte, n int) (last bool, err error) {
	if s.received != nil {
		s.received.Add(float64(n))
	}
	move := &s.move
	if n = move.read(buf[chunkHead : chunkHead+n]); n > 0 {
		err = to.send(buf, n)
	}
	return move.sent(), err
}

// finish ends the answer after a read has returned err.
func (s *watch) finish(to responseWriter, err error) error {
	clean := errors.Is(err, io.EOF)
	if !s.move.due.Load() {
		s.awaitMove(clean)
	}
	if s.move.due.Load() && !s.ended.Load() {
		return s.writeExpiredEvent(to)
	}
	if !clean && !s.ended.Load() {
		s.broken = true
		return err
	}
	return to.close(s.answer.Trailer)
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
