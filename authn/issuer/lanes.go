package issuer

import (
	"context"
	"sync"
)

// lanes bounds how many fetches run at once, in all and for each owner, so that
// one tenant's slow issuers do not hold up the others'.
type lanes struct {
	total    chan struct{}
	perOwner int

	mu     sync.Mutex // guards owners
	owners map[string]*lane
}

type lane struct {
	slots chan struct{}
	users int // those who hold or wait for a slot
}

func newLanes(total, perOwner int) *lanes {
	return &lanes{total: make(chan struct{}, total), perOwner: perOwner, owners: map[string]*lane{}}
}

// acquire waits for a slot. The caller calls release when err is nil.
func (l *lanes) acquire(ctx context.Context, owner string) (release func(), err error) {
	own := l.enter(owner)
	select {
	case own.slots <- struct{}{}:
	case <-ctx.Done():
		l.leave(owner)
		return nil, ctx.Err()
	}
	select {
	case l.total <- struct{}{}:
	case <-ctx.Done():
		<-own.slots
		l.leave(owner)
		return nil, ctx.Err()
	}
	return func() {
		<-l.total
		<-own.slots
		l.leave(owner)
	}, nil
}

func (l *lanes) enter(owner string) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.owners[owner]
	if own == nil {
		own = &lane{slots: make(chan struct{}, l.perOwner)}
		l.owners[owner] = own
	}
	own.users++
	return own
}

func (l *lanes) leave(owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.owners[owner]
	if own.users--; own.users == 0 {
		delete(l.owners, owner)
	}
}
