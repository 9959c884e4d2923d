package proxy

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// A burst is at least burstSize watches that have begun, and at least 1/burstPart of
	// those that are open.
	burstSize = 512
	burstPart = 4
	// A burst is over when at most 1/quietPart of the open watches have begun within
	// burstInterval.
	quietPart     = 100
	burstInterval = time.Second
	// minIntervals is how many intervals are at least between two collections: clients
	// choose when watches begin, and a collection costs more than a watch does.
	minIntervals = 30
)

// freeMemoryAfterBurst returns memory to the system after each burst of new watches, until
// ctx ends. When all clients come back at once, as after a restart, the handshakes and first
// requests of thousands of watches need several times the memory that open watches need. The
// runtime notices that only when it collects garbage, which it does every two minutes when
// nothing is allocated, and each collection only halves a stack.
func (s *streamSet) freeMemoryAfterBurst(ctx context.Context) {
	var burst gcTrigger
	wait.UntilWithContext(ctx, func(context.Context) {
		if burst.due(s.numbers()) {
			runtime.GC()
			debug.FreeOSMemory() // collects again
		}
	}, burstInterval)
}

// gcTrigger finds the end of a burst.
type gcTrigger struct {
	last      int // how many streams had begun one interval ago
	collected int // how many had begun at the last collection
	wait      int // for how many intervals there is no other collection
}

// due says whether a burst is over. It is called once in each interval, with how many streams
// have begun since the start, and how many are open.
func (s *gcTrigger) due(begun, open int) bool {
	quiet := begun-s.last <= open/quietPart
	s.last, s.wait = begun, max(s.wait-1, 0)
	if n := begun - s.collected; !quiet || s.wait > 0 || n < burstSize || n < open/burstPart {
		return false
	}
	s.collected, s.wait = begun, minIntervals
	return true
}
