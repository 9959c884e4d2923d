package fairqueue

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// ErrFull means that there is no room for a call, or that its turn did not come in
// time. The call was not made.
var ErrFull = errors.New("too many calls")

// errAbandoned ends a call whose result nobody wants any more.
var errAbandoned = errors.New("no caller waits for the result")

// Limits bound a Queue. All are required.
type Limits struct {
	// Running is how many calls may run at once; further calls wait for their turn.
	Running int
	// Calls is how many calls may run or wait for their turn.
	Calls int
	// Waiters is how many requests may wait for results, usually for the result of a
	// call that another request started.
	Waiters int
	// Timeout limits a call, including the wait for its turn.
	Timeout time.Duration
	// Nested: each name of a caller is a part of the one before it, such as a tenant of a
	// server. Then the parts of a name divide its share among themselves. A part of two names
	// counts in both.
	Nested bool
}

// Queue makes at most one call at a time for each key, within its limits. Safe for
// concurrent use.
//
// One caller must not lock out the others. So no caller may have more queued calls,
// running calls or waiting requests than there is room left: a single caller takes
// half and leaves half to the others; two busy callers leave a third. Among calls
// that wait for their turn, the one whose caller has the fewest running calls is
// next. With Limits.Nested, the same holds for the second name within the share of the
// first: a single tenant of a single server takes a quarter.
//
// A call that waits for its turn ends with the last request that wants its result. A
// running call does not, so that impatient clients find the result when they retry.
type Queue[K comparable, V any] struct {
	limits Limits
	seed   maphash.Seed

	mu      sync.Mutex // guards the fields below, and waiters and running of the calls
	calls   map[K]*call[V]
	queued  []*call[V] // waiting for their turn, in order of arrival
	running int
	waiters int

	callsOf, runningOf, waitersOf shares // a call counts for the caller that started it
}

// call is one call. value and err may be read once done is closed.
type call[V any] struct {
	done, abandoned chan struct{}
	value           V
	err             error

	caller  caller
	waiters int
	turn    chan struct{} // closed when the call may run
	running bool          // it runs, and is no longer abandoned
}

// New returns an empty Queue.
func New[K comparable, V any](l Limits) *Queue[K, V] {
	return &Queue[K, V]{
		limits: l, seed: maphash.MakeSeed(), calls: map[K]*call[V]{},
		callsOf: shares{}, runningOf: shares{}, waitersOf: shares{},
	}
}

// Do returns the result of the call for key. It makes the call, unless one is in
// progress: then it waits for that call's result. It returns early with the error of
// ctx. An error that wraps ErrFull means that the call was not made.
//
// A caller is known by several names, for example its address and its cluster, and
// has a share for each. Callers should give the names in the same order. A caller
// without names has no share, and only the overall limits apply.
//
// prepare is called for a new call, before Do waits, and returns the function that
// makes it. That function outlives the request, since others may wait for the result,
// too: it gets a context of its own and should not hold large parts of the request.
func (q *Queue[K, V]) Do(ctx context.Context, key K, names []string, prepare func() func(context.Context) (V, error)) (V, error) {
	from := q.caller(names)
	c, first, err := q.join(key, from)
	if err != nil {
		var none V
		return none, err
	}
	defer q.leave(key, c, from)
	if first {
		go q.run(key, c, prepare()) //nolint:contextcheck,gosec // others may wait for it too: it outlives the request
	}
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// Len returns the number of calls that run or wait for their turn, and the number of
// requests that wait for results.
func (q *Queue[K, V]) Len() (calls, waiters int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.calls), q.waiters
}

// join returns the call for a key, and whether it is new; if so, the caller must run
// it. Unless it returns an error, the caller must call leave.
func (q *Queue[K, V]) join(key K, from caller) (c *call[V], first bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiters >= q.limits.Waiters {
		return nil, false, fmt.Errorf("%w: %d requests already wait for results", ErrFull, q.waiters)
	}
	if !q.fits(q.waitersOf, from, q.limits.Waiters-q.waiters) {
		return nil, false, fmt.Errorf("%w: %d requests that share with this one already wait for results", ErrFull, q.waitersOf.of(from))
	}
	c = q.calls[key]
	if first = c == nil; first {
		if c, err = q.add(key, from); err != nil {
			return nil, false, err
		}
	}
	c.waiters++
	q.waiters++
	q.waitersOf.add(from, 1)
	return c, first, nil
}

// add adds a new call to the queue. The caller holds mu.
func (q *Queue[K, V]) add(key K, from caller) (*call[V], error) {
	room := q.limits.Calls - len(q.calls)
	if room <= 0 {
		return nil, fmt.Errorf("%w: %d are already running or waiting", ErrFull, len(q.calls))
	}
	if !q.fits(q.callsOf, from, room) {
		return nil, fmt.Errorf("%w: %d calls that share with this one are already running or waiting", ErrFull, q.callsOf.of(from))
	}
	c := &call[V]{done: make(chan struct{}), abandoned: make(chan struct{}), caller: from, turn: make(chan struct{})}
	q.calls[key] = c
	q.callsOf.add(from, 1)
	q.queued = append(q.queued, c)
	q.next()
	return c, nil
}

func (q *Queue[K, V]) leave(key K, c *call[V], from caller) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiters--
	q.waitersOf.add(from, -1)
	if c.waiters--; c.waiters == 0 && !c.running && q.calls[key] == c {
		q.remove(key, c)
		close(c.abandoned)
	}
}

// run makes the call when its turn comes, unless all waiting requests end before.
func (q *Queue[K, V]) run(key K, c *call[V], run func(context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), q.limits.Timeout)
	defer cancel()
	var value V
	var err error
	select {
	case <-c.turn:
		if err = errAbandoned; q.start(c) {
			value, err = run(ctx)
		}
	case <-c.abandoned:
		err = errAbandoned
	case <-ctx.Done():
		err = fmt.Errorf("%w: no turn within %s", ErrFull, q.limits.Timeout)
	}
	q.end(key, c, value, err)
}

// start reports whether the call must be made because a request still waits for it.
func (q *Queue[K, V]) start(c *call[V]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.running = c.waiters > 0
	return c.running
}

// end gives the result to the waiting requests.
func (q *Queue[K, V]) end(key K, c *call[V], value V, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.calls[key] == c {
		q.remove(key, c)
	}
	c.value, c.err = value, err
	close(c.done)
}

// remove removes a call from the queue and gives its slot to the next one. The caller
// holds mu.
func (q *Queue[K, V]) remove(key K, c *call[V]) {
	delete(q.calls, key)
	q.callsOf.add(c.caller, -1)
	if n := slices.Index(q.queued, c); n >= 0 {
		q.queued = slices.Delete(q.queued, n, n+1)
	} else {
		q.running--
		q.runningOf.add(c.caller, -1)
	}
	q.next()
}

// next gives their turn to the calls that may now run. The caller holds mu.
func (q *Queue[K, V]) next() {
	for {
		next, room := -1, q.limits.Running-q.running
		for n, c := range q.queued {
			if q.fits(q.runningOf, c.caller, room) && (next < 0 || q.before(c.caller, q.queued[next].caller)) {
				next = n
			}
		}
		if next < 0 {
			return
		}
		c := q.queued[next]
		q.queued = slices.Delete(q.queued, next, next+1)
		q.running++
		q.runningOf.add(c.caller, 1)
		close(c.turn)
	}
}

// fits reports whether a caller may have one more of what counts counts. room is how many
// more all callers together may have.
func (q *Queue[K, V]) fits(counts shares, from caller, room int) bool {
	if room <= 0 {
		return false
	}
	for _, name := range from {
		if counts[name] >= room {
			return false
		}
		if q.limits.Nested {
			room = (room - counts[name] + 1) / 2 // taking one also leaves one less to the others
		}
	}
	return true
}

// before reports whether it is a's turn before b's.
func (q *Queue[K, V]) before(a, b caller) bool {
	if q.limits.Nested {
		return slices.CompareFunc(a, b, func(x, y uint64) int { return q.runningOf[x] - q.runningOf[y] }) < 0
	}
	return q.runningOf.of(a) < q.runningOf.of(b)
}

// caller identifies the caller, as hashes of its names: nothing of a request is kept.
type caller []uint64

func (q *Queue[K, V]) caller(names []string) caller {
	c := make(caller, len(names))
	for place, name := range names {
		var h maphash.Hash
		h.SetSeed(q.seed)
		_ = h.WriteByte(byte(place)) // never fails
		_, _ = h.WriteString(name)
		c[place] = h.Sum64()
	}
	return c
}

// shares counts by each name of the callers. It has entries only for counts above
// zero.
type shares map[uint64]int

// of returns the largest count among a caller's names.
func (s shares) of(c caller) (most int) {
	for _, name := range c {
		most = max(most, s[name])
	}
	return most
}

func (s shares) add(c caller, n int) {
	for _, name := range c {
		if s[name] += n; s[name] == 0 {
			delete(s, name)
		}
	}
}
