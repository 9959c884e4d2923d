package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/iotest"

	"frontproxy/index"
)

// TestBursts: whatever comes in pieces of any size arrives whole, in order, and
// before the next piece has come.
func TestBursts(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		w := newWorld(t)
		pieces := make(chan []byte)
		shard := w.shard(t, "shard", true, func(rw http.ResponseWriter, _ *http.Request) {
			flush := http.NewResponseController(rw)
			for _ = flush.Flush(); ; _ = flush.Flush() {
				piece, ok := <-pieces
				if !ok {
					return
				}
				_, _ = rw.Write(piece)
			}
		})
		w.index["ws"] = index.Target{Cluster: "ws", Shard: shard.Shard}
		f := w.front(t)
		resp, err := f.client(t, http2).Get(f.URL + "/clusters/ws/api?watch=1")
		if err != nil {
			t.Fatal(err)
		}
		var next byte
		for _, size := range []int{1, streamBuffer - 1, streamBuffer, 1, streamBuffer + 1, 1 << 20, copyBuffer, copyBuffer + streamBuffer, 7, 3 * streamBuffer, 1} {
			piece := make([]byte, size)
			for i := range piece {
				piece[i] = next
				next++
			}
			pieces <- piece
			got := make([]byte, size)
			if _, err := io.ReadFull(resp.Body, got); err != nil || !bytes.Equal(got, piece) {
				t.Fatalf("a piece of %d bytes did not arrive as it was: %v", size, err)
			}
		}
		close(pieces)
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Errorf("after the end: %d bytes, %v", len(rest), err)
		}
		_ = resp.Body.Close()
	}
}

// TestBurstsAtOnce: watches that have much to say from the beginning, when
// ReverseProxy flushes headers at the same time, again and again on the same
// connections.
func TestBurstsAtOnce(t *testing.T) {
	const size = 20 * streamBuffer
	w := newWorld(t)
	shard := w.shard(t, "shard", true, func(rw http.ResponseWriter, _ *http.Request) {
		flush := http.NewResponseController(rw)
		for range size >> 10 {
			_, _ = rw.Write(make([]byte, 1<<10))
			_ = flush.Flush()
		}
	})
	w.index["ws"] = index.Target{Cluster: "ws", Shard: shard.Shard}
	f := w.front(t)
	var all sync.WaitGroup
	for worker := range 8 {
		client := f.client(t, worker%2 == 0)
		all.Go(func() {
			for range 50 {
				resp, err := client.Get(f.URL + "/clusters/ws/api?watch=1")
				if err != nil {
					t.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if n != size || err != nil {
					t.Errorf("%d bytes of %d: %v", n, size, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestBurstsEnd: an upstream that fails is told from a client that is gone.
func TestBurstsEnd(t *testing.T) {
	broken := errors.New("broken")
	body := func(w http.ResponseWriter) *bursts {
		out := &watcher{ResponseWriter: w}
		return &bursts{ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 100)), iotest.ErrReader(broken))), out: out, buffers: newBufferPool(1000)}
	}
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{body(httptest.NewRecorder())}); !errors.Is(err, broken) {
		t.Errorf("the shard failed: %v", err)
	}
	b, small := body(gone{}), make([]byte, 10)
	if n, err := b.Read(small); n != 10 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := b.Read(small); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the client is gone: %d, %v", n, err)
	}
}

// gone is a client that no longer reads.
type gone struct{ http.ResponseWriter }

func (gone) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (gone) FlushError() error         { return io.ErrClosedPipe }
