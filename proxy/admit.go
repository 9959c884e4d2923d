package proxy

import (
	"errors"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/authn/identity"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
)

// admission is who the caller is, and the identity that the server gets.
type admission struct {
	decision *authn.Decision
	// forwardedUser is the identity in the headers to the server. Nil: none is, and the
	// server may get the client's credentials; see writeIdentity.
	forwardedUser user.Info
}

// passedThrough is the decision for mappings whose backend authenticates.
var passedThrough = &authn.Decision{PassThrough: true, Status: http.StatusOK}

// errNobody is panicked with when a Decision admits a request without a user. No correct
// Decider makes one; if it were forwarded, the shard would assume an identity of its own
// choice.
var errNobody = errors.New("the decision admits a request without a user")

// admit authenticates the caller and determines the identity that the server gets.
func (x *exchange) admit(r *http.Request) *metav1.Status {
	return x.authenticateCharged(r, func(r *http.Request, noWait bool) (status *metav1.Status) {
		x.admission, status = x.p.identify(r, &x.dest, noWait)
		return status
	})
}

// authenticateCharged calls do, which authenticates the request, and charges the client's
// address for the time that it waits. If the address has no room, do gets noWait, and a
// request that would have to wait is refused with 429.
func (x *exchange) authenticateCharged(r *http.Request, do func(r *http.Request, noWait bool) *metav1.Status) *metav1.Status {
	x.charges.chargeAddress(&x.p.limit, r, x.localPath, &x.dest, x.long)
	noWait := x.charges.addressFull
	status := x.p.withSpan(r, "authn", func(r *http.Request) *metav1.Status { return do(r, noWait) })
	if noWait && status != nil && status.Code == http.StatusServiceUnavailable {
		return apistatus.TooManyRequests(whoseLimit(nil))
	}
	return status
}

// identify authenticates the caller and determines the identity that the server at d
// gets. noWait is authn.Request's. A non-nil Status refuses the request; the decision is
// returned for records.
func (p *Proxy) identify(r *http.Request, d *destination.Destination, noWait bool) (admission, *metav1.Status) {
	a := admission{decision: passedThrough}
	if d.Exposure != destination.PassThrough {
		a.decision = p.authenticate(r, d, noWait)
	}
	if p.config.Owner != nil && a.decision.ServiceAccount {
		switch creates, err := createsWorkspace(r, d); {
		case err != nil:
			return a, apistatus.ForLookup(err, r)
		case creates:
			a.decision = p.config.Owner(a.decision)
		}
	}
	if a.decision.User == nil && !a.decision.PassThrough {
		return a, apistatus.Unauthenticated(a.decision)
	}
	var status *metav1.Status
	switch d.Exposure {
	case destination.Trusted:
		a.forwardedUser = a.decision.User
	case destination.ReducedIdentity:
		a.forwardedUser, status = userForHost(a.decision.User)
	case destination.Untrusted, destination.PassThrough:
	}
	return a, status
}

// authenticate asks the Decider who is calling. noWait is authn.Request's.
func (p *Proxy) authenticate(r *http.Request, to *destination.Destination, noWait bool) *authn.Decision {
	q := authnRequest(r, to)
	q.NoWait = noWait
	d := p.config.Decider.Decide(r.Context(), q)
	if d.User != nil && d.User.GetName() == "" || d.User == nil && !d.PassThrough && d.Status == http.StatusOK {
		panic(errNobody)
	}
	p.config.Metrics.Decided(d)
	return d
}

// authnRequest is what package authn judges of the request r, which goes to d.
func authnRequest(r *http.Request, d *destination.Destination) authn.Request {
	q := authn.Request{Header: r.Header, RemoteAddr: r.RemoteAddr, Method: r.Method, URL: r.URL, Target: d.Target, ShardRoute: d.ShardRoute}
	if r.TLS != nil {
		q.Certificates = r.TLS.PeerCertificates
	}
	return q
}

// userForHost returns the identity that a host in --mount-hosts-file gets. There must be
// one: without it, the host would take the caller for this proxy.
func userForHost(caller user.Info) (user.Info, *metav1.Status) {
	if caller == nil {
		return nil, apistatus.MountUnauthenticated()
	}
	u, err := identity.ForExternalHost(caller)
	if err != nil {
		return nil, apistatus.Forbidden("the caller may not use the workspace's mount: %v", err)
	}
	return u, nil
}
