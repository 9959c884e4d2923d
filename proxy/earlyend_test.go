package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

const (
	earlyPath  = "/clusters/root:ws/api/v1/namespaces/default/configmaps"
	earlyBegun = 16 << 10 // bytes of an upload that the shard reads before it answers
	earlyHead  = 8 << 10  // bytes of the answer that come at once
	earlyTail  = "the tail"
)

// earlyShard answers an upload of which it has read earlyBegun bytes, and writes
// the end of its answer when tail is received from.
func (w *world) earlyShard(t *testing.T, http2, length bool) (begun, tail chan struct{}) {
	t.Helper()
	begun, tail = make(chan struct{}), make(chan struct{})
	s := w.shard(t, "shard-1", http2, nil)
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(rw)
		if !http2 {
			if err := c.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			rw.Header().Set("Connection", "close") // the rest of the upload is never read
		}
		if _, err := io.CopyN(io.Discard, r.Body, earlyBegun); err != nil {
			t.Errorf("the shard reads the beginning: %v", err)
			return
		}
		if length {
			rw.Header().Set("Content-Length", strconv.Itoa(earlyHead+len(earlyTail)))
		}
		rw.WriteHeader(http.StatusConflict)
		_, _ = rw.Write(bytes.Repeat([]byte("a"), earlyHead))
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
		select {
		case begun <- struct{}{}:
		case <-t.Context().Done():
			return
		}
		select {
		case <-tail:
		case <-t.Context().Done():
		}
		_, _ = io.WriteString(rw, earlyTail)
	})
	return begun, tail
}

// TestAnswerToAnUploadThatEnds: a client that ends its upload over HTTP/2 when it sees
// the beginning of an early answer, as curl does, gets the rest of the answer, though
// it comes after the upload has broken off. (Over HTTP/1.1 a client can end its upload
// only with its connection.)
func TestAnswerToAnUploadThatEnds(t *testing.T) {
	t.Parallel()
	for _, shard2 := range []bool{false, true} {
		for _, length := range []bool{false, true} {
			t.Run(fmt.Sprintf("shard HTTP/2 %v, length %v", shard2, length), func(t *testing.T) {
				w := newWorld(t)
				begun, tail := w.earlyShard(t, shard2, length)
				uploads := w.uploads()
				f := w.front(t)
				for range 3 {
					checkEarly(t, f.uploadPart(t, 1<<30, func(framer *http2.Framer) {
						<-begun
						if err := framer.WriteData(1, true, nil); err != nil {
							t.Error(err)
						}
						ended(t, <-uploads)
						tail <- struct{}{}
					}))
				}
			})
		}
	}
}

// uploads are the bodies of the requests that are forwarded.
func (w *world) uploads() chan *requestBody {
	uploads := make(chan *requestBody, 1)
	w.prepare = func(p *Proxy) {
		p.exchanges.New = func() any {
			x := p.newExchange()
			rewrite := x.rp.Rewrite
			x.rp.Rewrite = func(pr *httputil.ProxyRequest) {
				uploads <- x.upload
				rewrite(pr)
			}
			return x
		}
	}
	return uploads
}

// ended waits until the transport's reading of the upload has ended.
func ended(t *testing.T, b *requestBody) {
	t.Helper()
	until(t, "the end of the upload is seen", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.ended
	})
}

func checkEarly(t *testing.T, got []byte) {
	t.Helper()
	if want := string(bytes.Repeat([]byte("a"), earlyHead)) + earlyTail; string(got) != want {
		t.Errorf("%d bytes of the answer came, want %d", len(got), len(want))
	}
}

// uploadPart begins an upload of size bytes (negative: it says none, and the shard is
// asked over HTTP/2 if it can) on stream 1 of an HTTP/2 connection and,
// when the answer has begun, has then say how it goes on. It returns what came of the
// answer's body.
func (f *front) uploadPart(t *testing.T, size int, then func(*http2.Framer)) []byte {
	t.Helper()
	conn, framer := f.http2(t)
	defer func() { _ = conn.Close() }()
	fields := asks(http.MethodPost, earlyPath)
	if size >= 0 {
		fields = append(fields, field{"content-length", strconv.Itoa(size)})
	}
	writeHeaders(t, framer, 1, false, fields)
	if err := framer.WriteData(1, false, make([]byte, earlyBegun)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Errorf("after %d bytes of the answer: %v", len(got), err)
			return got
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			then(framer)
		case *http2.DataFrame:
			got = append(got, frame.Data()...)
			if frame.StreamEnded() {
				return got
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			t.Errorf("after %d bytes of the answer: %v", len(got), frame)
			return got
		}
	}
}

// echo echoes an upload as it comes, and tells when it has begun and ended.
func (w *world) echo(t *testing.T) (ended chan error) {
	t.Helper()
	ended = make(chan error, 1)
	s := w.shard(t, "shard-1", true, nil)
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 {
			_ = http.NewResponseController(rw).EnableFullDuplex()
		}
		// A hang is the test's to tell, not that of the server's end.
		stop := context.AfterFunc(t.Context(), func() { _ = http.NewResponseController(rw).SetReadDeadline(past) })
		defer stop()
		for buf := make([]byte, 32<<10); ; {
			n, err := r.Body.Read(buf)
			if err != nil {
				ended <- err
				return
			}
			_, _ = rw.Write(buf[:n])
			_ = http.NewResponseController(rw).Flush()
		}
	})
	return ended
}

// TestUploadIsCancelledWhileAnswered: a client that gives up a request whose answer
// has begun and whose upload has not ended, or stops there, leaves nothing waiting:
// the shard, which waits for the rest of the upload, learns of it.
func TestUploadIsCancelledWhileAnswered(t *testing.T) {
	const known, unknown = "1000000000", "" // lengths; the shard is asked over HTTP/1.1 and HTTP/2
	for _, c := range []struct {
		name, length string
		timeout      time.Duration
		gives        func(net.Conn, *http2.Framer) error
	}{
		{"reset", unknown, time.Hour, reset},
		{"reset", known, time.Hour, reset},
		{"connection closed", unknown, time.Hour, hangUp},
		{"connection closed", known, time.Hour, hangUp},
		{"ended before its length", known, 50 * time.Millisecond, endStream},
		{"silent", unknown, 50 * time.Millisecond, silence},
		{"silent", known, 50 * time.Millisecond, silence},
	} {
		t.Run(c.name+", length "+c.length, func(t *testing.T) {
			w := newWorld(t)
			over := w.echo(t)
			w.config.ProgressTimeout, w.config.MaxInFlight = c.timeout, 80
			f := w.front(t)
			conn, framer := f.http2(t)
			fields := asks(http.MethodPost, "/clusters/root:ws/api")
			if c.length != "" {
				fields = append(fields, field{"content-length", c.length})
			}
			writeHeaders(t, framer, 1, false, fields)
			if err := framer.WriteData(1, false, make([]byte, earlyBegun)); err != nil {
				t.Fatal(err)
			}
			awaitData(t, framer)
			if err := c.gives(conn, framer); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-over:
				if errors.Is(err, io.EOF) {
					t.Error("the shard takes the upload for whole")
				}
			case <-time.After(stuck):
				t.Error("the shard still waits for the upload")
			}
			f.idle(t)
		})
	}
}

func reset(_ net.Conn, f *http2.Framer) error     { return f.WriteRSTStream(1, http2.ErrCodeCancel) }
func hangUp(c net.Conn, _ *http2.Framer) error    { return c.Close() }
func endStream(_ net.Conn, f *http2.Framer) error { return f.WriteData(1, true, nil) }
func silence(net.Conn, *http2.Framer) error       { return nil }

// TestAnswerEndsBeforeTheUpload: an answer that ends while the client still uploads
// has its end reach the client, which may wait for that before it goes on.
func TestAnswerEndsBeforeTheUpload(t *testing.T) {
	t.Parallel()
	for _, shard2 := range []bool{false, true} {
		for _, length := range []bool{false, true} {
			for _, size := range []int{1 << 30, -1} {
				t.Run(fmt.Sprintf("shard HTTP/2 %v, length %v, upload of %d", shard2, length, size), func(t *testing.T) {
					w := newWorld(t)
					begun, tail := w.earlyShard(t, shard2, length)
					w.config.ProgressTimeout, w.config.MaxInFlight = time.Hour, 80
					f := w.front(t)
					checkEarly(t, f.uploadPart(t, size, func(*http2.Framer) {
						<-begun
						tail <- struct{}{}
					}))
					f.idle(t)
				})
			}
		}
	}
}
