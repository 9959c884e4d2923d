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
func (i *Index) buildAll(ctx context.Context, free chan struct{}, builds *sync.WaitGroup) {
	for ctx.Err() == nil {
		select {
		case <-free:
		default:
			return
		}
		c, spec := i.next()
		if c == nil {
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

// build builds spec for c. If spec is nil, the configuration is no longer needed.
func (i *Index) build(c *configEntry, spec *jwt.Spec) {
	began := i.config.Clock.Now()
	if spec != nil {
		built, err := i.builder.Build(c.name.cluster, c.name.name, spec)
		i.install(c, spec, built, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.todo.done(c.name.cluster, i.config.Clock.Since(began))
}

// wakeUp wakes Run.
func (i *Index) wakeUp() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// next is the configuration to build now, and of what; nil when there is none.
func (i *Index) next() (*configEntry, *jwt.Spec) {
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.todo.pop()
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
func (i *Index) enqueue(c *configEntry) {
	if c.queued || c.current || c.next != nil || !c.buildable() || len(c.users) == 0 {
		return
	}
	c.queued = true
	i.todo.push(c)
	i.wakeUp()
}

// install puts what was built of spec in the place of what served so far, or next
// to it, unless c has changed meanwhile; then it waits in todo again.
func (i *Index) install(c *configEntry, spec *jwt.Spec, built *jwt.Configuration, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, changing := i.changing[c]
	switch {
	case c.spec != spec || c.current || c.next != nil || len(c.users) == 0:
		if built != nil {
			built.Close()
		}
		return
	case err != nil:
		c.err = err
		c.due = i.config.Clock.Now().Add(min(buildRetryMax, buildRetry<<min(c.failures, 10)))
		c.failures++
		i.retry[c] = struct{}{}
		i.tell(c)
	case changing:
		c.next, c.err, c.failures = built, nil, 0
	default:
		i.activate(c, built)
	}
	i.publishUsers(c)
}

// requeue puts failed builds that are due back into todo, hands over what is
// ready, and says how long there is nothing to do.
func (i *Index) requeue(now, next time.Time) time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	for c := range i.retry {
		switch {
		case !now.Before(c.due):
			delete(i.retry, c)
			i.enqueue(c)
		case c.due.Before(next):
			next = c.due
		}
	}
	for c := range i.changing {
		if look := i.handOver(c, now); look.Before(next) {
			next = look
		}
	}
	return next.Sub(now)
}

func (i *Index) sweep(now time.Time) {
	i.mu.Lock()
	i.todo.age()
	var all []*jwt.Authenticator
	for _, s := range i.shards {
		for _, c := range s.configs {
			all = append(all, c.serving...)
		}
	}
	i.mu.Unlock()
	for _, a := range all {
		a.Sweep(now)
	}
}
