package issuer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"frontproxy/internal/backoff"
)

// When an issuer is read again: run does it from time to time, sooner after a failure
// (pause), and as soon as it may when a token's key is unknown (requestRefresh). The
// fetchScheduler then says whose reading goes first.

// attempt is one reading of the issuer. err may be read when done is closed;
// begun is guarded by Issuer.mu.
type attempt struct {
	done  chan struct{}
	begun bool
	err   error
}

// refresh begins or joins a reading of the keys, and waits for it. joined means that it had
// begun before. A nil error means that it succeeded.
func (i *Issuer) refresh(ctx context.Context) (joined bool, err error) {
	a, joined, err := i.requestRefresh(true)
	if a == nil {
		return false, err
	}
	leave, ok := i.pool.enter(i)
	if !ok {
		return joined, fmt.Errorf("%w: %s: %d tokens already wait for issuers of its owner", ErrUnavailable, i.ref.URL, i.pool.config.OwnersWaiters)
	}
	defer leave()
	timer := i.pool.config.Clock.NewTimer(i.pool.config.Wait)
	defer timer.Stop()
	select {
	case <-a.done:
		i.mu.Lock()
		defer i.mu.Unlock()
		return joined, i.unavailable(a.err)
	case <-timer.C():
		return joined, fmt.Errorf("%w: %s: still waiting for its keys", ErrUnavailable, i.ref.URL)
	case <-ctx.Done():
		return joined, fmt.Errorf("%w: %s: waiting for its keys: %w", ErrUnavailable, i.ref.URL, ctx.Err())
	}
}

// requestRefresh has the keys read and returns the attempt. If one is under way it returns
// that, with joined; if none is due, nil and the reason. For undecided see Refetch.Allow.
func (i *Issuer) requestRefresh(undecided bool) (a *attempt, joined bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.gone {
		return nil, false, fmt.Errorf("%w: %s is no longer in use", ErrUnavailable, i.ref.URL)
	}
	if i.current != nil {
		return i.current, i.current.begun, nil
	}
	// refetch counts only readings for unknown keys. So a key that appears just after a
	// periodic reading is found at once.
	now := i.pool.config.Clock.Now()
	switch {
	case i.keys.Load() == nil: // a first reading does not count against refetch's limit
		if !i.lastStart.IsZero() && now.Sub(i.lastStart) < UndiscoveredEvery {
			return nil, false, i.notDue()
		}
	case !i.refetch.Allow(now, undecided):
		return nil, false, i.notDue()
	}
	i.current = &attempt{done: make(chan struct{})}
	select {
	case i.refreshCh <- struct{}{}:
	default: // run is awake already
	}
	return i.current, false, nil
}

// notDue returns the error for a token that can't be judged before the next reading. The
// caller holds mu.
func (i *Issuer) notDue() error {
	if err := i.unavailable(i.lastErr); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s: its keys were just read for other tokens with unknown keys, and will be read again shortly", ErrUnavailable, i.ref.URL)
}

// run reads the issuer until ctx ends. Nothing else fetches.
func (i *Issuer) run(ctx context.Context) {
	defer i.shutdown()
	failures := 0
	for {
		a := i.begin()
		err := i.read(ctx, failures > 0)
		if ctx.Err() != nil {
			return
		}
		ended := i.pool.config.Clock.Now() // before anybody sees how it ended
		i.end(a, err)
		failures++
		if err == nil {
			failures = 0
		}
		due := ended.Add(i.pause(failures))
		timer := i.pool.config.Clock.NewTimer(due.Sub(i.pool.config.Clock.Now()))
		if !i.pool.config.Clock.Now().Before(due) { // the clock went on before there was a timer
			timer.Stop()
			continue
		}
		select {
		case <-timer.C():
		case <-i.refreshCh:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// pause returns how long to wait after this number of consecutive failures.
func (i *Issuer) pause(failures int) time.Duration {
	if failures == 0 {
		return jitter(RefreshPeriod, RefreshPeriod/10)
	}
	d := backoff.Exponential(backoffStart, backoffMax, failures-1)
	return jitter(d, d/4)
}

// jitter returns a random duration between d-by and d+by.
func jitter(d, by time.Duration) time.Duration {
	return d - by + rand.N(2*by) //nolint:gosec // spreads load, no secret
}

func (i *Issuer) begin() *attempt {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.refreshCh: // the requested reading begins now
	default:
	}
	if i.current == nil {
		i.current = &attempt{done: make(chan struct{})}
	}
	i.lastStart, i.current.begun = i.pool.config.Clock.Now(), true
	return i.current
}

// end publishes the outcome of a.
func (i *Issuer) end(a *attempt, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	log := i.pool.config.Log.WithValues("issuer", i.ref.URL)
	switch {
	case errors.Is(err, errNoUsableKey) && i.emptySince.IsZero():
		log.Info("The issuer publishes no usable key; its tokens get 503 for a while, then 401", "for", NoKeyGrace, "ignored", i.keys.Load().ignored)
	case err != nil && i.lastErr != nil:
		log.V(4).Info("Could not read the issuer again", "err", err)
	case err != nil:
		log.Info("Could not read the issuer; trying again", "keysInUse", i.keys.Load() != nil, "err", err)
	case i.lastErr != nil || i.lastSuccess.IsZero():
		log.V(2).Info("Issuer is ready", "keys", len(i.keys.Load().all), "ignored", i.keys.Load().ignored)
	}
	switch {
	case err == nil:
		i.lastSuccess, i.emptySince = i.pool.config.Clock.Now(), time.Time{}
	case errors.Is(err, errNoUsableKey) && i.emptySince.IsZero():
		i.emptySince = i.pool.config.Clock.Now()
	}
	if err == nil || errors.Is(err, errNoUsableKey) {
		i.refetch.Read(i.lastStart)
	}
	i.lastErr = newFailure(err)
	a.err, i.current = i.lastErr, nil
	close(a.done)
	closeOnce(i.attempted)
}

// shutdown fails the verifications that still wait.
func (i *Issuer) shutdown() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gone = true
	if i.current != nil {
		i.current.err = errors.New("no longer in use")
		close(i.current.done)
		i.current = nil
	}
}
