package issuer

import (
	"context"
	"slices"
	"sync"
)

// standing is what an issuer's last attempt says of the next one.
type standing int

const (
	failed  standing = iota // the last attempt failed
	untried                 // no attempt has ended yet
	proven                  // the last attempt read the keys
)

// fetchScheduler bounds how many fetches run at once, in all and for each owner, so that
// no tenant's issuers hold up another's, whatever they serve and whomever else
// they name. Who waits, waits for all its owners' lanes at once: one that has
// room is enough, and is billed. The rules:
//
//   - No owner has more than perOwner fetches, and half of these for issuers
//     that failed last time.
//   - Issuers that failed last time have a quarter of the total together, those
//     and the untried ones three quarters: dead issuers cost a whole time-out
//     each, and must not keep those that answer from being read again.
//   - Each further fetch of an owner needs twice the room: its second starts only
//     while less than half of what its issuer's standing may use is in use, its
//     third while less than a quarter is. So a crowd that fills what there is
//     leaves room for the first fetch of those who come later.
//   - What comes free goes to the owner with the fewest fetches under way; of
//     equal ones to the one whose turn is longest ago.
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

func newLanes(total, perOwner int) *fetchScheduler {
	return &fetchScheduler{total: total, perOwner: perOwner, busy: map[string]*[proven + 1]int{}, served: map[string]uint64{}}
}

// join asks for a slot. The caller calls wait, and from then on may change the
// owners with setOwners.
func (l *fetchScheduler) join(s standing, owners []string) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &waiter{standing: s, owners: owners, granted: make(chan struct{})}
	// Fetches that already wait have no room, and no slot has become free.
	if owner, ok := l.chargeableOwner(w); ok {
		l.grant(w, owner)
	} else {
		l.waiting = append(l.waiting, w)
	}
	return w
}

// wait returns when w has its slot. The caller calls release when err is nil.
func (l *fetchScheduler) wait(ctx context.Context, w *waiter) (release func(), err error) {
	select {
	case <-w.granted:
		return func() { l.release(w) }, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	n := slices.Index(l.waiting, w)
	if n >= 0 {
		l.remove(n)
	}
	l.mu.Unlock()
	if n < 0 { // granted just now
		l.release(w)
	}
	return nil, ctx.Err()
}

// setOwners changes who may be billed for w while it waits.
func (l *fetchScheduler) setOwners(w *waiter, owners []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := slices.Index(l.waiting, w)
	if n < 0 {
		return
	}
	w.owners = owners
	if owner, ok := l.chargeableOwner(w); ok {
		l.remove(n)
		l.grant(w, owner)
	}
}

func (l *fetchScheduler) release(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inUse[w.standing]--
	own := l.busy[w.owner]
	if own[w.standing]--; sum(own[:]) == 0 {
		delete(l.busy, w.owner)
	}
	for l.grantNext() {
	}
}

// grantNext gives a slot to the first in turn that has room.
func (l *fetchScheduler) grantNext() bool {
	best, payer := -1, ""
	for n, w := range l.waiting {
		if owner, ok := l.chargeableOwner(w); ok && (best < 0 || l.before(owner, payer)) {
			best, payer = n, owner
		}
	}
	if best < 0 {
		return false
	}
	w := l.waiting[best]
	l.remove(best)
	l.grant(w, payer)
	return true
}

func (l *fetchScheduler) remove(n int) {
	if l.waiting = slices.Delete(l.waiting, n, n+1); len(l.waiting) == 0 {
		l.waiting = nil
		clear(l.served)
	}
}

func (l *fetchScheduler) grant(w *waiter, owner string) {
	own := l.busy[owner]
	if own == nil {
		own = new([proven + 1]int)
		l.busy[owner] = own
	}
	own[w.standing]++
	l.inUse[w.standing]++
	if l.turns++; len(l.waiting) > 0 {
		l.served[owner] = l.turns
	}
	w.owner = owner
	close(w.granted)
}

// chargeableOwner is who of w's owners is billed: of those with room the first in turn.
func (l *fetchScheduler) chargeableOwner(w *waiter) (payer string, ok bool) {
	limit, used := l.limit(w.standing)
	if used >= limit || sum(l.inUse[:]) >= l.total {
		return "", false
	}
	for _, owner := range w.owners {
		if l.hasRoom(owner, w.standing, limit, used) && (!ok || l.before(owner, payer)) {
			payer, ok = owner, true
		}
		if ok && l.busy[payer] == nil && l.served[payer] == 0 {
			break // nobody is before it
		}
	}
	return payer, ok
}

// limit is how many fetches there may be of issuers that stand like s or worse,
// and how many there are.
func (l *fetchScheduler) limit(s standing) (limit, used int) {
	return max(1, l.total*[...]int{failed: 1, untried: 3, proven: 4}[s]/4), sum(l.inUse[:s+1])
}

func (l *fetchScheduler) hasRoom(owner string, s standing, limit, used int) bool {
	own := l.busy[owner]
	if own == nil {
		return true
	}
	n := sum(own[:])
	if n >= l.perOwner || s == failed && own[failed] >= max(1, l.perOwner/2) {
		return false
	}
	return used < max(1, limit>>n)
}

// before says whether it is a's turn before b's.
func (l *fetchScheduler) before(a, b string) bool {
	if x, y := l.load(a), l.load(b); x != y {
		return x < y
	}
	return l.served[a] < l.served[b]
}

func (l *fetchScheduler) load(owner string) int {
	if own := l.busy[owner]; own != nil {
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
