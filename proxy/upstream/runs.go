package upstream

import (
	"context"
	"slices"
	"sync"
)

// Runs runs each upstream of a set that changes. An upstream has to run as long as it is used:
// a backend that was found silent is served again only after a probe by Run. Runs belongs to
// one goroutine.
type Runs struct {
	run     func(context.Context, *Upstream)
	running sync.WaitGroup
	stops   map[*Upstream]context.CancelFunc
}

// NewRuns returns one that runs upstreams with run.
func NewRuns(run func(context.Context, *Upstream)) *Runs {
	return &Runs{run: run, stops: map[*Upstream]context.CancelFunc{}}
}

// Follow runs the upstreams of wanted that do not run yet, until ctx ends, and stops those that
// are no longer wanted; requests under way there stay on their connections.
func (r *Runs) Follow(ctx context.Context, wanted []*Upstream) {
	for _, u := range wanted {
		if r.stops[u] == nil {
			one, stop := context.WithCancel(ctx)
			r.stops[u] = stop
			r.running.Go(func() { r.run(one, u) })
		}
	}
	for u, stop := range r.stops {
		if !slices.Contains(wanted, u) {
			stop()
			delete(r.stops, u)
		}
	}
}

// End stops all and waits for them.
func (r *Runs) End() {
	for _, stop := range r.stops {
		stop()
	}
	r.running.Wait()
}
