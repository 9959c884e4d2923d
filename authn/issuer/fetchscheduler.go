package issuer

import (
	"context"
	"slices"
	"sync"
)

// fetchClass is the class of an issuer's next fetch, by the result of its last one.
type fetchClass int

const (
	afterFailure fetchClass = iota // the last fetch failed
	firstFetch                     // no fetch has ended yet
	afterSuccess                   // the last fetch read the keys
	fetchClasses                   // how many there are
)

// fetchScheduler bounds how many fetches run at once, in all and for each owner, so that
// no tenant's issuers delay another's, whatever they serve and whichever other issuers
// they name. An issuer may have several owners: its fetch starts as soon as one of them
// has room, and is charged to that one. The rules:
//
//   - No owner has more than perOwner fetches, and at most half of these from issuers
//     that failed last time.
//   - Fetches from issuers that failed last time take at most a quarter of the total;
//     together with first fetches, three quarters. A dead issuer costs a whole timeout,
//     and must not keep those that respond from being read again.
//   - Each further fetch of an owner needs twice the room: its second starts only
//     while less than half of what fetches of its class may use is in use, its third
//     while less than a quarter is. So owners with many issuers leave room for
//     the first fetch of those who come later.
//   - A slot that becomes free goes to the owner with the fewest fetches under way; among
//     equals, to the one whose last turn is longest ago.
type fetchScheduler struct {
	total, perOwner int

	mu      sync.Mutex // guards what follows
	inUse   [fetchClasses]int
	busy    map[string][fetchClasses]int // owners' fetches under way, by class
	waiting []*waiter                    // in order of arrival
	// served is when each owner last had a turn, in turns; forgotten when nobody waits.
	served map[string]uint64
	turns  uint64
}

// waiter is a fetch that waits for a slot, which is charged to one of its owners.
type waiter struct {
	class   fetchClass
	owners  []string
	granted chan struct{} // closed when it has the slot
	owner   string        // who was charged; set before granted is closed
}

func newFetchScheduler(total, perOwner int) *fetchScheduler {
	return &fetchScheduler{total: total, perOwner: perOwner, busy: map[string][fetchClasses]int{}, served: map[string]uint64{}}
}

// join asks for a slot. The caller calls wait, and from then on may change the
// owners with setOwners.
func (f *fetchScheduler) join(class fetchClass, owners []string) *waiter {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &waiter{class: class, owners: owners, granted: make(chan struct{})}
	// No fetch that already waits can start now: no slot has become free.
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

// setOwners changes who may be charged for w while it waits.
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
	f.count(w, -1)
	for f.grantNext() {
	}
}

// grantNext gives a slot to the fetch whose turn it is, and reports whether there was one.
func (f *fetchScheduler) grantNext() bool {
	best, charged := -1, ""
	for n, w := range f.waiting {
		if owner, ok := f.chargeableOwner(w); ok && (best < 0 || f.before(owner, charged)) {
			best, charged = n, owner
		}
	}
	if best < 0 {
		return false
	}
	w := f.waiting[best]
	f.remove(best)
	f.grant(w, charged)
	return true
}

func (f *fetchScheduler) remove(n int) {
	if f.waiting = slices.Delete(f.waiting, n, n+1); len(f.waiting) == 0 {
		f.waiting = nil
		clear(f.served)
	}
}

func (f *fetchScheduler) grant(w *waiter, owner string) {
	w.owner = owner
	f.count(w, 1)
	if f.turns++; len(f.waiting) > 0 {
		f.served[owner] = f.turns
	}
	close(w.granted)
}

// count adds n to the fetches of w's class, of all and of the owner who is charged.
func (f *fetchScheduler) count(w *waiter, n int) {
	own := f.busy[w.owner]
	own[w.class] += n
	f.inUse[w.class] += n
	if f.busy[w.owner] = own; f.load(w.owner) == 0 {
		delete(f.busy, w.owner)
	}
}

// chargeableOwner returns the owner to charge for w: of those with room, the one whose turn
// comes first.
func (f *fetchScheduler) chargeableOwner(w *waiter) (first string, ok bool) {
	limit, used := f.limit(w.class)
	if used >= limit || sum(f.inUse[:]) >= f.total {
		return "", false
	}
	for _, owner := range w.owners {
		if f.hasRoom(owner, w.class, limit, used) && (!ok || f.before(owner, first)) {
			first, ok = owner, true
		}
		if ok && f.load(first) == 0 && f.served[first] == 0 {
			break // nobody is before it
		}
	}
	return first, ok
}

// limit returns how many fetches of this class and the classes below it may run together,
// and how many do.
func (f *fetchScheduler) limit(class fetchClass) (limit, used int) {
	return max(1, f.total*[...]int{afterFailure: 1, firstFetch: 3, afterSuccess: 4}[class]/4), sum(f.inUse[:class+1])
}

func (f *fetchScheduler) hasRoom(owner string, class fetchClass, limit, used int) bool {
	n := f.load(owner)
	if n >= f.perOwner || class == afterFailure && f.busy[owner][afterFailure] >= max(1, f.perOwner/2) {
		return false
	}
	return used < max(1, limit>>n)
}

// before reports whether it is a's turn before b's.
func (f *fetchScheduler) before(a, b string) bool {
	if x, y := f.load(a), f.load(b); x != y {
		return x < y
	}
	return f.served[a] < f.served[b]
}

// load returns how many fetches of an owner are under way.
func (f *fetchScheduler) load(owner string) int {
	own := f.busy[owner]
	return sum(own[:])
}

func sum(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
