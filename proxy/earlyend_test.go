package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"frontproxy/authn"
	"frontproxy/index"
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
	for _, shard2 := range []bool{false, true} {
		for _, length := range []bool{false, true} {
			t.Run(fmt.Sprintf("shard HTTP/2 %v, length %v", shard2, length), func(t *testing.T) {
				w := newWorld(t)
				begun, tail := w.earlyShard(t, shard2, length)
				uploads := w.uploads()
				f := w.front(t)
				for range 3 {
					checkEarly(t, f.endEarly(t, 1<<30, func(end func()) {
						<-begun
						end()
						ended(t, <-uploads)
						tail <- struct{}{}
					}))
				}
			})
		}
	}
}

// uploads are the bodies of the requests that are decided about.
func (w *world) uploads() chan *pacedBody {
	uploads, decide := make(chan *pacedBody, 1), w.decide
	w.decide = func(r *http.Request, to *index.Target) *authn.Decision {
		uploads <- r.Body.(*pacedBody)
		return decide(r, to)
	}
	return uploads
}

// ended waits until the transport's reading of the upload has ended.
func ended(t *testing.T, b *pacedBody) {
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

// endEarly begins an upload over HTTP/2 and, when the answer has begun, has then say
// how it goes on; end ends the upload before its declared length. It returns what
// came of the answer's body.
func (f *front) endEarly(t *testing.T, size int, then func(end func())) []byte {
	t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(stuck))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, h := range []field{{":method", "POST"}, {":scheme", "https"}, {":authority", "front.example"}, {":path", earlyPath}, {"content-length", strconv.Itoa(size)}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: h.name, Value: h.value})
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for _, write := range []func() error{
		func() error { return framer.WriteSettings() },
		func() error {
			return framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
		},
		func() error { return framer.WriteData(1, false, make([]byte, earlyBegun)) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
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
			then(func() {
				if err := framer.WriteData(1, true, nil); err != nil {
					t.Error(err)
				}
			})
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
