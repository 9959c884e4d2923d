package workspacetypes

import (
	"slices"
	"time"

	"frontproxy/authn/jwt"
)

const (
	// handOverWait is how long, at most, a configuration goes on with what it
	// trusted, for the same issuer URL, before it changed.
	handOverWait = 10 * time.Second
	// handOverPoll is how often the new issuers are checked meanwhile.
	handOverPoll = 50 * time.Millisecond
)

// handOver is from issuers that an earlier spec trusts to those that the present spec
// trusts under the same URLs, but otherwise.
type handOver struct {
	// until is when the earlier issuers end at the latest, and the entry is in Index.changing
	// so long; zero when none of them serves.
	until time.Time
	// next is built of the present spec; set in stateWaiting only.
	next *jwt.Configuration
}

// change gives c another spec; err says why that is not to be built.
func (i *Index) change(c *configEntry, spec *jwt.Spec, err error) {
	c.object.spec, c.object.err = spec, err
	c.failure = buildFailure{}
	i.transition(c, c.specEvent())
	c.dropUntrusted(false)
	switch {
	case len(c.inUse.authenticators) == 0:
		i.stopServing(c)
	case c.servesOthers():
		c.handOver.until = i.config.Clock.Now().Add(handOverWait)
		i.changing[c] = struct{}{}
		i.wakeUp()
	default:
		i.endHandOver(c)
	}
	if err != nil {
		i.logHealth(c)
	}
}

// dropUntrusted stops serving issuer URLs that the present spec does not name. An issuer that
// it names with another discoveryURL or CA is kept, unless strictly is set or its keys were
// never read.
func (c *configEntry) dropUntrusted(strictly bool) {
	ids := c.object.spec.IssuerIDs()
	c.inUse.authenticators = slices.DeleteFunc(slices.Clone(c.inUse.authenticators), func(a *jwt.Authenticator) bool {
		of := ids[a.Issuer().URL()]
		return len(of) == 0 || !slices.Contains(of, a.IssuerID()) && (strictly || a.Issuer().Generation() == 0)
	})
}

// servesOthers reports whether something is served that the present spec names, but
// trusts otherwise.
func (c *configEntry) servesOthers() bool {
	ids := c.object.spec.IssuerIDs()
	return slices.ContainsFunc(c.inUse.authenticators, func(a *jwt.Authenticator) bool { return !slices.Contains(ids[a.Issuer().URL()], a.IssuerID()) })
}

// continueHandOver puts c's next build into use once that has keys or the time is over, and then
// ends what the present spec no longer trusts. It reports whether anything changed. The caller
// holds mu.
func (i *Index) continueHandOver(c *configEntry, now time.Time) bool {
	over := !now.Before(c.handOver.until)
	switch {
	case c.state == stateWaiting && (over || hasKeysFor(c.handOver.next, c.inUse.authenticators)):
		i.transition(c, eventTakesOver)
	case over:
		i.endHandOver(c)
		if c.dropUntrusted(true); len(c.inUse.authenticators) == 0 {
			i.stopServing(c)
		}
	default:
		return false
	}
	return true
}

// hasKeysFor reports whether the keys of issuers that take over from others of the
// same URL have been read.
func hasKeysFor(b *jwt.Configuration, serving []*jwt.Authenticator) bool {
	return !slices.ContainsFunc(b.Authenticators, func(a *jwt.Authenticator) bool {
		return a.Issuer().Generation() == 0 && slices.ContainsFunc(serving, func(old *jwt.Authenticator) bool {
			return old.Issuer().URL() == a.Issuer().URL() && old.IssuerID() != a.IssuerID()
		})
	})
}

// takeOver puts what is next in the place of what served so far.
func (i *Index) takeOver(c *configEntry) {
	built := c.handOver.next
	i.stopServing(c)
	c.handOver.next = nil
	c.inUse = configInUse{built: built, authenticators: built.Authenticators, version: c.object.version}
	for n, a := range built.Authenticators { // one copy of a CA bundle for all
		c.object.spec.Entries[n].Issuer.CertificateAuthority = a.Issuer().CA()
	}
	i.logHealth(c)
}

// endHandOver forgets until when others are trusted.
func (i *Index) endHandOver(c *configEntry) {
	c.handOver.until = time.Time{}
	delete(i.changing, c)
}

// stopServing ends what a configuration serves.
func (i *Index) stopServing(c *configEntry) {
	i.endHandOver(c)
	if c.inUse.built != nil {
		c.inUse.built.Close()
	}
	c.inUse = configInUse{}
}

// logHealth logs that c is broken, or works again. A fault that repeats is logged once.
func (i *Index) logHealth(c *configEntry) {
	log := i.config.Log.WithValues("shard", c.shard, "cluster", c.name.cluster, "name", c.name.name, "resourceVersion", c.object.version)
	switch err := c.broken(); {
	case err != nil && (c.loggedErr == nil || c.loggedErr.Error() != err.Error()):
		log.Error(err, "An authentication configuration is broken; the previous version stays in use for issuers that are still trusted in the same way", "servesIssuers", len(c.inUse.authenticators))
		c.loggedErr = err
	case err == nil && c.loggedErr != nil:
		log.Info("An authentication configuration works again")
		c.loggedErr = nil
	}
}
