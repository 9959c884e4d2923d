package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"frontproxy/authn"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/routing"
)

// Streams may outlast what admitted them: accounts are deleted, certificates and
// configurations are replaced, workspaces are removed. So each stream is decided about
// again at intervals, from its original request.
const (
	defaultRecheckPeriod = 15 * time.Second
	recheckTimeout       = 3 * time.Second
	// recheckTurn is how long a slot stays with one flow's streams, which are rechecked
	// one after the other, while other flows wait for a slot.
	recheckTurn = time.Second
	// slowRecheck is the time from which a recheck counts as slow: it had to wait for an
	// issuer, a shard or a webhook.
	slowRecheck = recheckTimeout / 10
)

// streamAuthn is what a stream was admitted by. Immutable.
type streamAuthn struct {
	ctx      context.Context // the request's; it ends with the stream
	request  authn.Request
	route    routing.Route
	decision *authn.Decision
}

// soonest is when the next recheck is due: after the given time, or when the credential
// expires, if that is earlier.
func (a *streamAuthn) soonest(now time.Time, after time.Duration) time.Time {
	next := now.Add(after)
	if d := a.decision; d != nil && d.ExpiresAt.After(now) && d.ExpiresAt.Before(next) {
		return d.ExpiresAt
	}
	return next
}

// newStreamAuthn returns what d admitted r by, which goes to to; nil when there is nothing to
// recheck.
func (ss *streamSupervisor) newStreamAuthn(r *http.Request, to *destination.Destination, d *authn.Decision) *streamAuthn {
	if ss.recheck == nil || d == passedThrough && len(to.Mounts) == 0 {
		return nil
	}
	return &streamAuthn{r.Context(), authnRequest(r, to), ss.router.RouteTo(to), d}
}

// runRechecks rechecks all streams at intervals and ends those that are no longer
// admitted, until ctx ends.
func (ss *streamSupervisor) runRechecks(ctx context.Context) {
	if ss.recheck == nil {
		return
	}
	var checking sync.WaitGroup
	defer checking.Wait()
	tick := time.NewTicker(ss.recheckPeriod / 15)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ss.set.queueDue(time.Now(), ss.recheckPeriod)
		for st := ss.set.nextRecheck(); st != nil; st = ss.set.nextRecheck() {
			checking.Go(func() { ss.recheckInSlot(ctx, st) })
		}
	}
}

// recheckInSlot rechecks st, and then, in the same slot, one stream after the other, until
// none may have the slot or ctx ends.
func (ss *streamSupervisor) recheckInSlot(ctx context.Context, st *stream) {
	turn := time.Now()
	for st != nil && ctx.Err() == nil {
		begin, flow := time.Now(), st.flow
		ss.recheckStream(ctx, st)
		now := time.Now()
		st = ss.set.endRecheck(st, now.Sub(begin) >= slowRecheck, now.Sub(turn) < recheckTurn)
		if st != nil && st.flow != flow {
			turn = now
		}
	}
}

// recheckStream decides again about one stream.
func (ss *streamSupervisor) recheckStream(ctx context.Context, st *stream) {
	a := st.admittedBy
	ctx, cancel := context.WithTimeout(ctx, recheckTimeout)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)() //nolint:contextcheck // two contexts end it
	target, err := ss.router.ResolveAgain(&a.route, &a.request.Target)
	var gone routing.Gone
	switch {
	case errors.As(err, &gone):
		ss.endRevoked(st, string(gone), "")
		return
	case err != nil:
		return // not known now
	}
	request := a.request
	request.Target = target
	if d := ss.recheck(ctx, request, a.decision); d != nil && ctx.Err() == nil {
		ss.endRevoked(st, "it is no longer admitted", d.ID)
	}
}

// endRevoked ends a stream that is no longer admitted.
func (ss *streamSupervisor) endRevoked(st *stream, why, refusal string) {
	if !st.revoked.Swap(true) {
		ss.revoked.Add(1)
		ss.log.V(2).Info("Ended a "+st.kind.String(), "because", why, "refusal", refusal, "path", st.admittedBy.request.URL.Path)
	}
	st.end()
}

// queueDue queues the streams whose recheck is due. The caller calls endRecheck for each one
// that nextRecheck has returned.
func (s *streamSet) queueDue(now time.Time, period time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.active {
		switch {
		case st.admittedBy == nil || st.flow != nil:
		case st.next.IsZero(): // new: spread over the period
			st.next = st.admittedBy.soonest(now, period*3/4+rand.N(period/4+1)) //nolint:gosec // jitter
		case !now.Before(st.next):
			st.next = st.admittedBy.soonest(now, period)
			s.rechecks.add(st)
		}
	}
}

// nextRecheck returns the next stream to recheck; nil: there is none now.
func (s *streamSet) nextRecheck() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rechecks.next()
}

// endRecheck is called when the recheck of st has ended, and returns the next stream, as
// nextRecheck does; see recheckQueue.end.
func (s *streamSet) endRecheck(st *stream, slow, stay bool) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rechecks.end(st, slow, stay)
}
