package workspacetypes

import (
	"cmp"
	"slices"
	"time"

	"frontproxy/authn/jwt"
)

const (
	// handOverWait is how long, at most, a configuration goes on with what it
	// trusted, for the same issuer URL, before it changed.
	handOverWait = 10 * time.Second
	// handOverLook is how often the new issuers are looked at meanwhile.
	handOverLook = 50 * time.Millisecond
)

// change gives c another spec; err says why that is not to be built.
func (i *Index) change(c *configEntry, spec *jwt.Spec, err error) {
	i.setAside(c)
	c.spec, c.specErr, c.err, c.current, c.failures = spec, err, nil, false, 0
	c.distrust(false)
	switch {
	case len(c.serving) == 0:
		i.stop(c)
	case c.servesOthers():
		c.until = i.config.Clock.Now().Add(handOverWait)
		i.changing[c] = struct{}{}
		i.wakeUp()
	}
	if err != nil {
		i.tell(c)
	}
	i.enqueue(c)
}

// buildable says whether there is something to build.
func (c *configEntry) buildable() bool { return c.spec != nil && c.specErr == nil }

// broken is why the present spec can't be built; nil when that is not known.
func (c *configEntry) broken() error { return cmp.Or(c.specErr, c.err) }

// distrust stops serving issuer URLs that the present spec does not name. What it
// names with another discoveryURL or CA goes on unless strictly; without keys
// there is nothing to go on with.
func (c *configEntry) distrust(strictly bool) {
	trusts := c.spec.Trusts()
	c.serving = slices.DeleteFunc(slices.Clone(c.serving), func(a *jwt.Authenticator) bool {
		of := trusts[a.Issuer().URL()]
		return len(of) == 0 || !slices.Contains(of, a.Trust()) && (strictly || a.Issuer().Generation() == 0)
	})
}

// servesOthers says whether something is served that the present spec names, but
// trusts otherwise.
func (c *configEntry) servesOthers() bool {
	trusts := c.spec.Trusts()
	return slices.ContainsFunc(c.serving, func(a *jwt.Authenticator) bool { return !slices.Contains(trusts[a.Issuer().URL()], a.Trust()) })
}

// handOver has c use what is next, and no longer what it does not trust, when
// that is ready or the time is over. It returns when to look again. The caller
// holds mu.
func (i *Index) handOver(c *configEntry, now time.Time) time.Time {
	over := !now.Before(c.until)
	switch {
	case c.next != nil && (over || hasKeysFor(c.next, c.serving)):
		i.activate(c, c.next)
	case over:
		delete(i.changing, c)
		if c.distrust(true); len(c.serving) == 0 {
			i.stopServing(c)
		}
	case c.next != nil:
		return now.Add(handOverLook)
	default:
		return c.until
	}
	i.publishUsers(c)
	return now.Add(sweepEvery)
}

// hasKeysFor says whether the keys of issuers that take over from others of the
// same URL have been read.
func hasKeysFor(b *jwt.Configuration, serving []*jwt.Authenticator) bool {
	return !slices.ContainsFunc(b.Authenticators, func(a *jwt.Authenticator) bool {
		return a.Issuer().Generation() == 0 && slices.ContainsFunc(serving, func(old *jwt.Authenticator) bool {
			return old.Issuer().URL() == a.Issuer().URL() && old.Trust() != a.Trust()
		})
	})
}

// activate puts what was built of the present spec in the place of what served so
// far. The caller publishes it.
func (i *Index) activate(c *configEntry, built *jwt.Configuration) {
	c.next = nil
	i.stop(c)
	c.built, c.serving, c.current, c.of, c.err, c.failures = built, built.Authenticators, true, c.version, nil, 0
	for i, a := range built.Authenticators { // one copy of a CA bundle for all
		c.spec.Entries[i].Issuer.CertificateAuthority = a.Issuer().CA()
	}
	i.tell(c)
}

// setAside ends what was to become of the present spec.
func (i *Index) setAside(c *configEntry) {
	if c.next != nil {
		c.next.Close()
		c.next = nil
	}
	delete(i.retry, c)
	delete(i.changing, c)
}

// stopServing ends what a configuration serves, stop also what is to become of it.
func (i *Index) stopServing(c *configEntry) {
	if c.built != nil {
		c.built.Close()
	}
	c.built, c.serving, c.current = nil, nil, false
}

func (i *Index) stop(c *configEntry) {
	i.setAside(c)
	i.stopServing(c)
}

// tell logs that c is broken, or works again. A fault that repeats is logged once.
func (i *Index) tell(c *configEntry) {
	log := i.config.Log.WithValues("shard", c.shard, "cluster", c.name.cluster, "name", c.name.name, "resourceVersion", c.version)
	switch err := c.broken(); {
	case err != nil && (c.loggedErr == nil || c.loggedErr.Error() != err.Error()):
		log.Error(err, "An authentication configuration is broken; the previous version stays in use for issuers that are still trusted in the same way", "servesIssuers", len(c.serving))
		c.loggedErr = err
	case err == nil && c.loggedErr != nil:
		log.Info("An authentication configuration works again")
		c.loggedErr = nil
	}
}
