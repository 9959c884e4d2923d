package issuer

import (
	"context"
	"slices"
	"sync"
)

// standing is the class of an issuer's next fetch, by the result of its last one.
type standing int

const (
	failed  standing = iota // the last attempt failed
	untried                 // no attempt has ended yet
	proven                  // the last attempt read the keys
)

// fetchScheduler bounds how many fetches run at once, in all and for each owner, so that
// no tenant's issuers delay another's, whatever they serve and whichever other issuers
// they name. An issuer may have several owners: its fetch starts as soon as one of them
// has room, and is charged to that one. The rules:
//
//   - No owner has more than perOwner fetches, and half of these for issuers
//     that failed last time.
//   - Issuers that failed last time have a quarter of the total together, those
//     and the untried ones three quarters: dead issuers cost a whole time-out
//     each, and must not keep those that answer from being read again.
//   - Each further fetch of an owner needs twice the room: its second starts only
//     while less than half of what its issuer's standing may use is in use, its
//     third while less than a quarter is. So owners with many issuers leave room for
//     the first fetch of those who come later.
//   - A slot that becomes free goes to the owner with the fewest fetches under way; among
//     equals, to the one whose last turn is longest ago.
type fetchScheduler struct {
	total, perOwner int

	mu      sync.Mutex // guards what follows
	inUse   [proven + 1]int
	busy    map[string]*[proven + 1]int // owners' fetches under way, by standing
	waiting []*waiter                   // in order of arrival
	// served is when each owner last had a turn, in turns; forgotten when nobody waits.
	served map[string]uint64
	turns  uint64
}

// waiter wants one slot, billed to any of its owners.
type waiter struct {
	standing standing
	owners   []string
	granted  chan struct{} // closed when it has the slot
	owner    string        // who was billed; set before granted is closed
}

func newFetchScheduler(total, perOwner int) *fetchScheduler {
	return &fetchScheduler{total: total, perOwner: perOwner, busy: map[string]*[proven + 1]int{}, served: map[string]uint64{}}
}

// join asks for a slot. The caller calls wait, and from then on may change the
// owners with setOwners.
func (f *fetchScheduler) join(s standing, owners []string) *waiter {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &waiter{standing: s, owners: owners, granted: make(chan struct{})}
	// Fetches that already wait have no room, and no slot has become free.
	if owner, ok := f.chargeableOwner(w); ok {
		f.grant(w, owner)
	} else {
		f.waiting = append(f.waiting, w)
	}
	return w
}

// wait returns when w has its slot. The caller calls release when err is nil.
func (f *fetchScheduler) wait(ctx context.Context, w *waiter) (release func(), err error) {
	select {
	case <-w.granted:
		return func() { f.release(w) }, nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	n := slices.Index(f.waiting, w)
	if n >= 0 {
		f.remove(n)
	}
	f.mu.Unlock()
	if n < 0 { // granted just now
		f.release(w)
	}
	return nil, ctx.Err()
}

// setOwners changes who may be billed for w while it waits.
func (f *fetchScheduler) setOwners(w *waiter, owners []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := slices.Index(f.waiting, w)
	if n < 0 {
		return
	}
	w.owners = owners
	if owner, ok := f.chargeableOwner(w); ok {
		f.remove(n)
		f.grant(w, owner)
	}
}

func (f *fetchScheduler) release(w *waiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inUse[w.standing]--
	own := f.busy[w.owner]
	if own[w.standing]--; sum(own[:]) == 0 {
		delete(f.busy, w.owner)
	}
	for f.grantNext() {
	}
}

// grantNext gives a slot to the first in turn that has room.
func (f *fetchScheduler) grantNext() bool {
	best, payer := -1, ""
	for n, w := range f.waiting {
		if owner, ok := f.chargeableOwner(w); ok && (best < 0 || f.before(owner, payer)) {
			best, payer = n, owner
		}
	}
	if best < 0 {
		return false
	}
	w := f.waiting[best]
	f.remove(best)
	f.grant(w, payer)
	return true
}

func (f *fetchScheduler) remove(n int) {
	if f.waiting = slices.Delete(f.waiting, n, n+1); len(f.waiting) == 0 {
		f.waiting = nil
		clear(f.served)
	}
}

func (f *fetchScheduler) grant(w *waiter, owner string) {
	own := f.busy[owner]
	if own == nil {
		own = new([proven + 1]int)
		f.busy[owner] = own
	}
	own[w.standing]++
	f.inUse[w.standing]++
	if f.turns++; len(f.waiting) > 0 {
		f.served[owner] = f.turns
	}
	w.owner = owner
	close(w.granted)
}

// chargeableOwner is who of w's owners is billed: of those with room the first in turn.
func (f *fetchScheduler) chargeableOwner(w *waiter) (payer string, ok bool) {
	limit, used := f.limit(w.standing)
	if used >= limit || sum(f.inUse[:]) >= f.total {
		return "", false
	}
	for _, owner := range w.owners {
		if f.hasRoom(owner, w.standing, limit, used) && (!ok || f.before(owner, payer)) {
			payer, ok = owner, true
		}
		if ok && f.busy[payer] == nil && f.served[payer] == 0 {
			break // nobody is before it
		}
	}
	return payer, ok
}

// limit is how many fetches there may be of issuers of standing s or a worse one, and how
// many there are.
func (f *fetchScheduler) limit(s standing) (limit, used int) {
	return max(1, f.total*[...]int{failed: 1, untried: 3, proven: 4}[s]/4), sum(f.inUse[:s+1])
}

func (f *fetchScheduler) hasRoom(owner string, s standing, limit, used int) bool {
	own := f.busy[owner]
	if own == nil {
		return true
	}
	n := sum(own[:])
	if n >= f.perOwner || s == failed && own[failed] >= max(1, f.perOwner/2) {
		return false
	}
	return used < max(1, limit>>n)
}

// before says whether it is a's turn before b's.
func (f *fetchScheduler) before(a, b string) bool {
	if x, y := f.load(a), f.load(b); x != y {
		return x < y
	}
	return f.served[a] < f.served[b]
}

func (f *fetchScheduler) load(owner string) int {
	if own := f.busy[owner]; own != nil {
		return sum(own[:])
	}
	return 0
}

func sum(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
