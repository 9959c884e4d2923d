package authn

import (
	"context"
	"fmt"
	"runtime"
)

// evaluationsOfOwner is how many tokens' CEL expressions run at once for all the
// types of one logical cluster: half of the processors at most, however many
// types it has. The other half is its neighbours'.
func evaluationsOfOwner() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// owner is a logical cluster that has types with configurations.
type owner struct {
	// evaluations has a place for each evaluation that may run now.
	evaluations chan struct{}
	types       int // that it has
}

// enterType counts one more type of cluster and returns its owner. The caller
// holds TypeIndex.mu.
func (s *typeShard) enterType(cluster string) *owner {
	o := s.owners[cluster]
	if o == nil {
		o = &owner{evaluations: make(chan struct{}, evaluationsOfOwner())}
		s.owners[cluster] = o
	}
	o.types++
	return o
}

// leaveType counts one less.
func (s *typeShard) leaveType(cluster string) {
	if o := s.owners[cluster]; o != nil {
		if o.types--; o.types == 0 {
			delete(s.owners, cluster)
		}
	}
}

// enter waits for a place among the type's evaluations, then for one among its
// owner's. Everybody takes them in this order, so nobody waits for himself.
func (m jwtMember) enter(ctx context.Context) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, evaluationWait)
	defer cancel()
	if err := place(ctx, m.evaluations); err != nil {
		return nil, fmt.Errorf("%w: %d tokens of the workspace type are being evaluated already: %w", ErrUndecided, cap(m.evaluations), err)
	}
	if m.owners == nil {
		return func() { <-m.evaluations }, nil
	}
	if err := place(ctx, m.owners); err != nil {
		<-m.evaluations
		return nil, fmt.Errorf("%w: %d tokens of the workspace type's owner are being evaluated already: %w", ErrUndecided, cap(m.owners), err)
	}
	return func() { <-m.owners; <-m.evaluations }, nil
}

// place takes a place as soon as there is one.
func place(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	default:
	}
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
