package workspacetypes

import (
	"context"
	"sync"
	"time"

	"frontproxy/authn/jwt"
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
func (x *Index) buildAll(ctx context.Context, free chan struct{}, builds *sync.WaitGroup) {
	for ctx.Err() == nil {
		select {
		case <-free:
		default:
			return
		}
		c, spec := x.next()
		if c == nil {
			free <- struct{}{}
			return
		}
		builds.Go(func() { //nolint:contextcheck // upstream keeps the context it is given: none may end
			x.build(c, spec)
			free <- struct{}{}
			x.wakeUp()
		})
	}
}

// build builds spec for c. If spec is nil, the configuration is no longer needed.
func (x *Index) build(c *configEntry, spec *jwt.Spec) {
	began := x.config.Clock.Now()
	if spec != nil {
		built, err := x.builder.Build(c.name.cluster, c.name.name, spec)
		x.install(c, spec, built, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.todo.done(c.name.cluster, x.config.Clock.Since(began))
}

// wakeUp wakes Run.
func (x *Index) wakeUp() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// next is the configuration to build now, and of what; nil when there is none.
func (x *Index) next() (*configEntry, *jwt.Spec) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.todo.pop()
	if c == nil {
		return nil, nil
	}
	c.queued = false
	if c.current || c.next != nil || !c.buildable() || len(c.users) == 0 {
		return c, nil
	}
	return c, c.spec
}

// enqueue has Run build c when a type names it and it is not built yet.
func (x *Index) enqueue(c *configEntry) {
	if c.queued || c.current || c.next != nil || !c.buildable() || len(c.users) == 0 {
		return
	}
	c.queued = true
	x.todo.push(c)
	x.wakeUp()
}

// install puts what was built of spec in the place of what served so far, or next
// to it, unless c has changed meanwhile; then it waits in todo again.
func (x *Index) install(c *configEntry, spec *jwt.Spec, built *jwt.Configuration, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, changing := x.changing[c]
	switch {
	case c.spec != spec || c.current || c.next != nil || len(c.users) == 0:
		if built != nil {
			built.Close()
		}
		return
	case err != nil:
		c.err = err
		c.due = x.config.Clock.Now().Add(min(buildRetryMax, buildRetry<<min(c.failures, 10)))
		c.failures++
		x.retry[c] = struct{}{}
		x.tell(c)
	case changing:
		c.next, c.err, c.failures = built, nil, 0
	default:
		x.activate(c, built)
	}
	x.publishUsers(c)
}

// requeue puts failed builds that are due back into todo, hands over what is
// ready, and says how long there is nothing to do.
func (x *Index) requeue(now, next time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	for c := range x.retry {
		switch {
		case !now.Before(c.due):
			delete(x.retry, c)
			x.enqueue(c)
		case c.due.Before(next):
			next = c.due
		}
	}
	for c := range x.changing {
		if look := x.handOver(c, now); look.Before(next) {
			next = look
		}
	}
	return next.Sub(now)
}

func (x *Index) sweep(now time.Time) {
	x.mu.Lock()
	x.todo.age()
	var all []*jwt.Authenticator
	for _, s := range x.shards {
		for _, c := range s.configs {
			all = append(all, c.serving...)
		}
	}
	x.mu.Unlock()
	for _, a := range all {
		a.Sweep(now)
	}
}
