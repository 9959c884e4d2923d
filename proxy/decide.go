package proxy

import (
	"context"
	"errors"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/authn/identity"
	"frontproxy/index"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
)

// admission is the identity of the caller, and the identity that the server gets.
type admission struct {
	decision *authn.Decision
	// told is nil when nobody is named to the server: it may be sent credentials.
	told user.Info
}

// passedThrough is the decision for mappings whose backend authenticates.
var passedThrough = &authn.Decision{PassThrough: true, Status: http.StatusOK}

// errNobody is for a Decision that admits a request without a user, which no correct
// Decider makes. Forwarded, the request would have whatever identity the shard
// assumes.
var errNobody = errors.New("the decision admits a request without a user")

// decide authenticates the caller and determines the identity that the server at d
// gets. A non-nil Status refuses the request; the decision is returned for records.
func (p *Proxy) decide(r *http.Request, d *destination.Destination) (admission, *metav1.Status) {
	a := admission{decision: passedThrough}
	if d.Trust != destination.PassThrough {
		a.decision = p.authenticate(r, &d.Target)
	}
	if p.owner != nil && a.decision.ServiceAccount {
		switch creates, err := createsWorkspace(r, d); {
		case err != nil:
			return a, apistatus.ForLookup(err, r)
		case creates:
			a.decision = p.owner(a.decision)
		}
	}
	if a.decision.User == nil && !a.decision.PassThrough {
		return a, apistatus.Unauthenticated(a.decision)
	}
	var status *metav1.Status
	switch d.Trust {
	case destination.Trusted:
		a.told = a.decision.User
	case destination.Listed:
		a.told, status = toldToHost(a.decision.User)
	case destination.Stranger, destination.PassThrough:
	}
	return a, status
}

// authenticate has it decided who is calling.
func (p *Proxy) authenticate(r *http.Request, t *index.Target) *authn.Decision {
	d := p.decider.Decide(r, t)
	if d.User != nil && d.User.GetName() == "" || d.User == nil && !d.PassThrough && d.Status == http.StatusOK {
		panic(errNobody)
	}
	p.metrics.Decided(d)
	return d
}

// toldToHost returns the identity that a host in the operator's list gets. It must
// get one: without it, the host would take the caller for this proxy.
func toldToHost(caller user.Info) (user.Info, *metav1.Status) {
	if caller == nil {
		return nil, apistatus.New(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized: the workspace's mount needs an authenticated caller")
	}
	u, err := identity.ForExternalHost(caller)
	if err != nil {
		return nil, apistatus.Forbidden("the caller may not use the workspace's mount: %v", err)
	}
	return u, nil
}

// waits finds out who is asking, for which the request may have to wait.
func (x *exchange) waits(r *http.Request, do func(*http.Request) *metav1.Status) *metav1.Status {
	x.acquireInFlight(r)
	if !x.crowded {
		return x.withSpan(r, "authn", do)
	}
	ctx, cancel := context.WithCancel(r.Context())
	cancel() // only what is known at once counts
	status := x.withSpan(r.WithContext(ctx), "authn", do)
	if status != nil && status.Code == http.StatusServiceUnavailable {
		return apistatus.TooManyRequests("your address has, in this workspace,")
	}
	return status
}
