package workspacetypes

import (
	"context"
	"sync"
	"time"

	"frontproxy/authn/jwt"
	"frontproxy/internal/backoff"
)

const (
	// sweepEvery is how often caches drop what has ended.
	sweepEvery = 30 * time.Second
	// buildRetry is the pause after a first failed build; it doubles up to
	// buildRetryMax.
	buildRetry    = time.Second
	buildRetryMax = 5 * time.Minute
	// buildsAtOnce is how many configurations are built at once, of different
	// owners. The others build on while one owner's is costly.
	buildsAtOnce = 2
)

// buildAll starts to build what may be built now. Each build wakes Run when it
// is over.
func (i *Index) buildAll(ctx context.Context, free chan struct{}, builds *sync.WaitGroup) {
	for ctx.Err() == nil {
		select {
		case <-free:
		default:
			return
		}
		c, spec, ok := i.turn()
		if !ok {
			free <- struct{}{}
			return
		}
		builds.Go(func() { //nolint:contextcheck // upstream keeps the context it is given: none may end
			i.build(c, spec)
			free <- struct{}{}
			i.wakeUp()
		})
	}
}

// turn takes the next configuration from the queue and returns what to build for it;
// false when there is nothing to build now.
func (i *Index) turn() (c *configEntry, spec *jwt.Spec, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for c = i.todo.pop(); c != nil; c = i.todo.pop() {
		if i.transition(c, eventTurn); c.state == stateBuilding {
			return c, c.object.spec, true
		}
		i.todo.done(c.name.cluster, 0) // it is no longer needed
	}
	return nil, nil, false
}

// build builds spec for c.
func (i *Index) build(c *configEntry, spec *jwt.Spec) {
	began := i.config.Clock.Now()
	built, err := i.builder.Build(c.name.cluster, c.name.name, spec)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.finish(c, built, err)
	i.todo.done(c.name.cluster, i.config.Clock.Since(began))
}

// finish takes the result of a build of c. No other build of c can have begun meanwhile,
// since an owner has one at a time. The caller holds mu.
func (i *Index) finish(c *configEntry, built *jwt.Configuration, err error) {
	now := i.config.Clock.Now()
	switch {
	case c.state != stateBuilding:
		if built != nil {
			built.Close()
		}
		return
	case err != nil:
		pause := backoff.Exponential(buildRetry, buildRetryMax, c.failure.count)
		c.failure = buildFailure{err: err, count: c.failure.count + 1, due: now.Add(pause)}
		i.transition(c, eventFailed)
		i.logHealth(c)
	default:
		c.failure, c.handOver.next = buildFailure{}, built
		i.transition(c, eventBuilt)
		i.continueHandOver(c, now)
	}
	i.publishUsers(c)
}

// wakeUp wakes Run.
func (i *Index) wakeUp() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// requeue puts failed builds that are due back into todo, hands over what is ready,
// and returns when there is something to do again, next at the latest.
func (i *Index) requeue(now, next time.Time) time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	for c := range i.retry {
		if !now.Before(c.failure.due) {
			i.transition(c, eventDue)
			continue
		}
		next = earlier(next, c.failure.due)
	}
	for c := range i.changing {
		switch {
		case i.continueHandOver(c, now):
			i.publishUsers(c)
		case c.state == stateWaiting:
			next = earlier(next, now.Add(handOverPoll))
		default:
			next = earlier(next, c.handOver.until)
		}
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (i *Index) sweep(now time.Time) {
	i.mu.Lock()
	i.todo.age()
	var all []*jwt.Authenticator
	for _, s := range i.shards {
		for _, c := range s.configs {
			all = append(all, c.inUse.authenticators...)
		}
	}
	i.mu.Unlock()
	for _, a := range all {
		a.Sweep(now)
	}
}
