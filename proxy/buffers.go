package proxy

import "sync"

// bufferPool lends buffers to copy bodies with, of one size each.
type bufferPool struct {
	size int
	pool sync.Pool
}

const (
	// copyBuffer is for bodies that end; streamBuffer for watches, which are
	// many and mostly wait.
	copyBuffer   = 32 << 10
	streamBuffer = 2 << 10
)

func newBufferPool(size int) *bufferPool {
	p := &bufferPool{size: size}
	p.pool.New = func() any { b := make([]byte, size); return &b }
	return p
}

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte { return *p.pool.Get().(*[]byte) }

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(b []byte) {
	if cap(b) >= p.size {
		b = b[:p.size]
		p.pool.Put(&b)
	}
}
