package proxy

import (
	"io"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// bursts is the body of a watch, which mostly waits and now and then has much to
// say at once. ReverseProxy reads it with a small buffer, since there are many
// watches; when that was filled, what follows goes to the client from here,
// through a large one, until it no longer comes in pieces larger than the small
// one. The order stays: ReverseProxy has written and flushed what it read before
// it reads on.
type bursts struct {
	io.ReadCloser
	out     *watcher
	buffers *bufferPool
	bytes   prometheus.Counter // of what does not go through ReverseProxy; nil: not counted
	filled  bool
}

// watcher is who gets a watch's answer. ReverseProxy also flushes headers from a
// goroutine of its own, behind a lock that it shares with nobody.
type watcher struct {
	http.ResponseWriter
	mu sync.Mutex
}

// Write implements http.ResponseWriter.
func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ResponseWriter.Write(p)
}

// FlushError is what http.ResponseController looks for.
func (w *watcher) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController find the rest.
func (w *watcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Read implements io.Reader.
func (b *bursts) Read(p []byte) (int, error) {
	if b.filled {
		b.filled = false
		if err := b.pour(len(p)); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.filled = n == len(p)
	return n, err
}

// pour writes what comes to the client, until a piece is no larger than small.
func (b *bursts) pour(small int) error {
	buf := b.buffers.Get()
	defer b.buffers.Put(buf)
	for {
		n, err := b.ReadCloser.Read(buf)
		if b.bytes != nil {
			b.bytes.Add(float64(n))
		}
		if n > 0 {
			if _, err := b.out.Write(buf[:n]); err != nil {
				return io.EOF // the client is gone, and nothing is wrong with the shard
			}
			if err := b.out.FlushError(); err != nil {
				return io.EOF
			}
		}
		if err != nil || n <= small {
			return err
		}
	}
}
