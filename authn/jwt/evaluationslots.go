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
// slots of its own (oidc.evaluationsAtOnce).
func evaluationsOfAll() int { return max(8, 2*runtime.GOMAXPROCS(0)) }

// acquireEvaluation waits for a slot among the type's evaluations, then for one among its
// owner's, then for one among all. Everybody takes them in this order, so there is no
// deadlock, and nobody holds a slot that other owners need while waiting for one of these.
func (b BoundedAuthenticator) acquireEvaluation(ctx context.Context) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, evaluationWait)
	defer cancel()
	var held []chan struct{}
	release = func() {
		for _, slots := range held {
			<-slots
		}
	}
	for _, of := range []struct {
		slots chan struct{}
		whose string
	}{{b.Types, "of the workspace type"}, {b.Owners, "of the workspace type's owner"}, {b.evaluations, "of all workspaces"}} {
		if of.slots == nil {
			continue
		}
		if err := acquireSlot(ctx, of.slots); err != nil {
			release()
			return nil, fmt.Errorf("%w: %d tokens %s are already being evaluated: %w", token.ErrUndecided, cap(of.slots), of.whose, err)
		}
		held = append(held, of.slots)
	}
	return release, nil
}

// acquireSlot takes a slot as soon as there is one.
func acquireSlot(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
