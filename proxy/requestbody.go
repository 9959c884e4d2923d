package proxy

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"time"
)

// maxBufferedBody is the largest body that is read before its request is forwarded.
// A shard that winds a connection down (GOAWAY; Kubernetes API servers do that
// now and then by themselves, to spread load) has not looked at requests that
// came too late for it, and they may go out again on another connection. The
// transport can do that only with a body it can have twice.
const maxBufferedBody = 64 << 10

// isBuffered reports whether r's body is one that bufferBody reads.
func isBuffered(r *http.Request) bool {
	return r.ContentLength > 0 && r.ContentLength <= maxBufferedBody
}

// bufferBody returns r with its body in memory when that is small and of a known
// length; other bodies stream, as do upgrades. The error is the client's: its
// body broke off, or, os.ErrDeadlineExceeded, came too slowly (requestBody). Then
// the connection can serve no other request.
func bufferBody(r *http.Request) (*http.Request, error) {
	if !isBuffered(r) {
		return r, nil
	}
	// A declared length proves nothing, so the buffer grows as data arrives.
	body, err := io.ReadAll(r.Body)
	if err == nil && int64(len(body)) < r.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	buffered := r.WithContext(r.Context())
	if _, waits := r.Header["Expect"]; waits { // it was told to go on, and has
		buffered.Header = r.Header.Clone()
		delete(buffered.Header, "Expect")
	}
	buffered.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	buffered.Body, _ = buffered.GetBody()
	return buffered, nil
}

// requestBody is a request's body. While a read waits for the client, the request does not
// count as running.
type requestBody struct {
	io.ReadCloser
	progressDeadline
	charges *charges
	http1   bool
	left    int64         // of its declared length; negative: none was declared
	ended   bool          // nothing more will come
	closed  bool          // Close has been called
	broken  error         // why the body cannot be read, which is the client's fault; nil: it can
	answer  chan struct{} // closed when the answer is over; nil: none came before the body's end
	over    bool          // answer is closed
	of      *http.Request // net/http's
	from    *connection   // which brings the body over HTTP/1.1; nil when the proxy reads no more of it

	gone <-chan struct{} // closed when the client is
	came atomic.Int64    // bytes of the answer
	// givenUp: the answer is ended here, and not by the upstream.
	givenUp atomic.Bool
}

// newRequestBody makes one of r, which w answers.
func newRequestBody(w http.ResponseWriter, r *http.Request, timeout time.Duration, c *charges) *requestBody {
	connection := http.NewResponseController(w)
	b := &requestBody{ReadCloser: r.Body, of: r, charges: c, http1: r.ProtoMajor == 1, left: r.ContentLength, gone: r.Context().Done()}
	b.timeout, b.quota, b.cut = timeout, progressBytes, func() { _ = connection.SetReadDeadline(past) }
	if isBuffered(r) {
		b.quota = math.MaxInt // all of it
	}
	if b.http1 {
		_ = connection.SetReadDeadline(time.Time{}) // that of serveHTTP
		b.from = requestConnection(r)
	}
	return b
}

// Read implements io.Reader. A body that breaks off, or ends before its declared
// length, does so for the transport only when the answer is over (answered).
func (b *requestBody) Read(to []byte) (int, error) {
	b.charges.beginClientWait()
	b.begin()
	b.mu.Lock()
	if b.from != nil {
		b.from.head.read.Store(0)
	}
	b.mu.Unlock()
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
	if err != nil && !errors.Is(err, io.EOF) && !b.closed && b.broken == nil {
		b.broken = err
	}
	if err == io.EOF { //nolint:errorlint // net/http's, which reads no trailers from then on
		b.of.Trailer = nil // nobody reads it, and net/http keeps it as long as the answer lasts
	}
	if err != nil && b.from != nil {
		if read := &b.from.head.read; read.Load()-int64(n) <= maxRecords { // else TLS has been sent something else
			read.Store(0)
		}
		b.from.head.inBody.Store(false)
	}
	answer, whole := b.answer, errors.Is(err, io.EOF) && b.left <= 0
	b.mu.Unlock()
	if err != nil && !whole && answer != nil {
		b.awaitEnd(answer)
	}
	return n, err
}

// Close implements io.Closer. The transport calls it when it gives up, also during a Read.
func (b *requestBody) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return b.ReadCloser.Close()
}

// brokenBy is why the body could not be read; nil: it could, so far.
func (b *requestBody) brokenBy() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken
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
// rest of the answer would be lost; so it learns of it when the answer is over. With
// a nil body, the answer is returned as it is.
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

// expects reports whether more of the body may come; nil: no.
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
	awaited := b.waiting || !b.http1
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
	b.mu.Lock()
	b.from = nil // it may serve another request
	b.mu.Unlock()
	if b.remains() {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(b.timeout)) // a writer that has none is a test's
	}
}

// remains says that the connection is HTTP/1.1, and may still bring some of the
// body; nil: no.
func (b *requestBody) remains() bool {
	if b == nil || !b.http1 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.ended
}
