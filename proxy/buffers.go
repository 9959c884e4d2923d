package proxy

import "sync"

// bufferPool lends buffers of one size, to copy bodies with.
type bufferPool struct{ pool sync.Pool }

const (
	// copyBuffer is for bodies that end; streamBuffer for watches, which are
	// many and mostly wait.
	copyBuffer   = 32 << 10
	streamBuffer = 2 << 10
)

func newBufferPool(size int) *bufferPool {
	return &bufferPool{sync.Pool{New: func() any { b := make([]byte, size); return &b }}}
}

func (p *bufferPool) Get() []byte { return *p.pool.Get().(*[]byte) }

// Put gives back what Get has returned.
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// copyBuffers has buffers of both sizes, for bodies that end and for watches.
type copyBuffers struct{ large, small *bufferPool }

// put gives a buffer back.
func (b *copyBuffers) put(buf []byte) {
	if len(buf) > streamBuffer {
		b.large.Put(buf)
	} else {
		b.small.Put(buf)
	}
}

// swap gives buf back for a large buffer, or a small one.
func (b *copyBuffers) swap(buf []byte, large bool) []byte {
	b.put(buf)
	if large {
		return b.large.Get()
	}
	return b.small.Get()
}
