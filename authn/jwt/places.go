package jwt

import (
	"context"
	"fmt"
	"runtime"

	"frontproxy/authn/token"
)

// evaluationsOfAll is how many tokens' CEL expressions run at once for all types of
// all owners. They only compute, so more would not be faster; this many times
// expression.MaxBytes is what they hold at most. The operator's configuration has
// places of its own (oidc.evaluationsAtOnce).
func evaluationsOfAll() int { return max(8, 2*runtime.GOMAXPROCS(0)) }

// enter waits for a place among the type's evaluations, then for one among its
// owner's, then for one among all. Everybody takes them in this order, so there is no
// deadlock, and nobody holds a place that other owners need while waiting for one of these.
func (m Member) enter(ctx context.Context) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, evaluationWait)
	defer cancel()
	var held []chan struct{}
	leave = func() {
		for _, places := range held {
			<-places
		}
	}
	for _, of := range []struct {
		places chan struct{}
		whose  string
	}{{m.Types, "of the workspace type"}, {m.Owners, "of the workspace type's owner"}, {m.evaluations, "of all workspaces"}} {
		if of.places == nil {
			continue
		}
		if err := place(ctx, of.places); err != nil {
			leave()
			return nil, fmt.Errorf("%w: %d tokens %s are already being evaluated: %w", token.ErrUndecided, cap(of.places), of.whose, err)
		}
		held = append(held, of.places)
	}
	return leave, nil
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
