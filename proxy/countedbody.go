package proxy

import (
	"errors"
	"io"

	"github.com/prometheus/client_golang/prometheus"
)

// countedBody counts a body's bytes as they pass, so that a watch's are
// seen before it ends. ReverseProxy and net/http's transport copy bodies by
// plain reads, so nothing faster is lost.
type countedBody struct {
	io.ReadCloser
	bytes prometheus.Counter // nil: not counted
	// broken: reading has failed.
	broken bool
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.bytes != nil {
		b.bytes.Add(float64(n))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.broken = true
	}
	return n, err
}
