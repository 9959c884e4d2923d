package upstream

import (
	"context"
	"slices"
	"sync"
)

// RunAll runs the upstreams that wanted returns until ctx ends, and looks again which these are
// whenever changed has something. An upstream has to run as long as it is used: a backend that
// was found silent is served again only after a probe by Run. Requests under way at one that is
// stopped stay on their connections.
func RunAll(ctx context.Context, wanted func() []*Upstream, changed <-chan struct{}) {
	var running sync.WaitGroup
	defer running.Wait()
	stops := map[*Upstream]context.CancelFunc{}
	for ctx.Err() == nil {
		now := wanted()
		for _, u := range now {
			if stops[u] == nil {
				one, stop := context.WithCancel(ctx)
				stops[u] = stop
				running.Go(func() { u.Run(one) })
			}
		}
		for u, stop := range stops {
			if !slices.Contains(now, u) {
				stop()
				delete(stops, u)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	for _, stop := range stops {
		stop()
	}
}
