package proxy

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// surge is how many watches must have begun, and which part of all that are
	// open, for memory to be given back.
	surge     = 512
	surgePart = 4
	// quietPart of all that are open may begin in a second, no more.
	quietPart   = 100
	settlePause = time.Second
	// settleRest is how many pauses pass at least from one time to the next:
	// clients choose when watches begin, and collecting costs more than that.
	settleRest = 30
)

// freeMemoryAfterBurst gives back memory after many watches have begun, until ctx ends. When
// clients come back all at once, as after a restart, the handshakes and first
// requests of thousands of watches need several times what they need to wait. The
// runtime sees that at collections, of which there is one in two minutes when
// nothing is allocated, and each only halves a stack.
func (p *Proxy) freeMemoryAfterBurst(ctx context.Context) {
	var s gcTrigger
	tick := time.NewTicker(settlePause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.due(p.streams.numbers()) {
			runtime.GC()
			debug.FreeOSMemory() // collects again
		}
	}
}

// gcTrigger remembers how many streams had begun a pause ago, and when memory was
// given back last; rest are the pauses to wait.
type gcTrigger struct{ last, settled, rest int }

// due says, once a pause, whether a surge has begun and is over.
func (s *gcTrigger) due(begun, open int) bool {
	quiet := begun-s.last <= open/quietPart
	s.last, s.rest = begun, max(s.rest-1, 0)
	if n := begun - s.settled; !quiet || s.rest > 0 || n < surge || n < open/surgePart {
		return false
	}
	s.settled, s.rest = begun, settleRest
	return true
}
