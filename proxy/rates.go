package proxy

import (
	"crypto/x509"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"frontproxy/authn"
	"frontproxy/authn/identity"
	"frontproxy/internal/clip"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/ratelimit"
)

// RatesConfig bounds how many requests a second clients may send. The zero value bounds
// nothing.
type RatesConfig struct {
	ratelimit.Config
	// DryRun: requests that come too fast are counted and logged, and served.
	DryRun bool
	// Pause is for how long the answer to a request that comes too fast is held back, so that a
	// client that ignores Retry-After costs little; 0: not at all.
	Pause time.Duration
	// Infrastructure reports whether a client certificate is exempt from rates, as
	// Decision.Infrastructure does later. Nil: none is, before authentication.
	Infrastructure func([]*x509.Certificate) bool
}

// rates says which requests come too fast.
type rates struct {
	config  RatesConfig
	metrics *metrics.Metrics
	log     klog.Logger
	limiter *ratelimit.Limiter
	lines   *rate.Limiter // of the log, about all buckets
	pauses  pauses
}

// pauses holds refused requests back, as long as they take no more than maxPausedBytes of memory
// together. Any further one is answered at once.
type pauses struct {
	pause time.Duration
	bytes atomic.Int64 // of the requests that are held back now
}

// maxPausedBytes bounds the memory of the requests that are held back, some 500 small ones.
const maxPausedBytes = 8 << 20

// wait returns after the pause, when the client is gone, or at once if there is no room for r.
func (p *pauses) wait(r *http.Request) {
	if p.pause <= 0 {
		return
	}
	weight := weightOf(r)
	defer p.bytes.Add(-weight)
	if p.bytes.Add(weight) > maxPausedBytes {
		return
	}
	timer := time.NewTimer(p.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// Lines of the log about requests that come too fast. Each bucket has one a minute at most
// (package ratelimit), but clients can make up buckets.
const (
	rateLines = 1 // a second
	rateBurst = 20
)

// maxLoggedUser bounds what a line has of a user's name, in bytes.
const maxLoggedUser = 256

func newRates(c *Config) rates {
	return rates{
		config: c.Rates, metrics: c.Metrics, log: c.Log,
		limiter: ratelimit.New(c.Rates.Config), lines: rate.NewLimiter(rateLines, rateBurst), pauses: pauses{pause: c.Rates.Pause},
	}
}

// checkAddressRate limits the requests of a client's address, before anybody is authenticated. A
// non-nil Status (429) refuses the request. The certificate is looked at last, because one that is
// not good is verified anew each time.
func (rs *rates) checkAddressRate(r *http.Request, c *charges) *metav1.Status {
	refusal, refused := rs.limiter.Address(r.RemoteAddr)
	if !refused || rs.config.Infrastructure != nil && r.TLS != nil && rs.config.Infrastructure(r.TLS.PeerCertificates) {
		return nil
	}
	return rs.rateExceeded(refusal, r, c, "", "")
}

// checkCallerRate is for an admitted request to target, which is a logical cluster or, if
// workspace is false, something else. A non-nil Status (429) refuses it.
func (rs *rates) checkCallerRate(r *http.Request, c *charges, d *authn.Decision, target string, workspace bool) *metav1.Status {
	if d.Infrastructure {
		return nil
	}
	q := ratelimit.Request{Target: target, Workspace: workspace}
	if d.User != nil {
		q.User = d.User.GetName()
		if home := d.User.GetExtra()[identity.ClusterNameKey]; len(home) > 0 {
			q.Home = home[0]
		}
	}
	refusal, refused := rs.limiter.Caller(&q)
	if !refused {
		return nil
	}
	return rs.rateExceeded(refusal, r, c, target, q.User)
}

// rateTarget is the target whose rates apply to an admitted request to d.
func rateTarget(d *destination.Destination) (target string, workspace bool) {
	switch {
	case d.Target.Cluster != "":
		return d.Target.Cluster, true
	case d.Kind == destination.MountedHost: // a workspace without a logical cluster
		return d.LastMount().Path, true
	}
	return d.Pattern, false
}

// rateExceeded counts a request that came too fast, now and then logs it, and holds it back. It
// releases the charges first, so that delayed requests of one user leave room for others at the
// same address to be authenticated. Nil: it is served, because this is a dry run.
func (rs *rates) rateExceeded(refusal ratelimit.Refusal, r *http.Request, c *charges, target, user string) *metav1.Status {
	rs.metrics.RateLimited(refusal.Kind, rs.config.DryRun)
	if refusal.Report && rs.lines.AllowN(rs.config.Now(), 1) {
		rs.log.Info("Requests come faster than their rate allows; the number of these lines is limited", "bucket", refusal.Kind.String(), "target", target,
			"user", clip.Clone(user, maxLoggedUser), "client", r.RemoteAddr, "dryRun", rs.config.DryRun)
	}
	if rs.config.DryRun {
		return nil
	}
	c.release()
	rs.pauses.wait(r)
	why := [ratelimit.Kinds]string{apistatus.WorkspaceRate, apistatus.IdentityRate, apistatus.AddressRate}[refusal.Kind]
	return apistatus.RateExceeded(why, refusal.RetryAfter)
}
