package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/internal/clip"
)

// Recheck decides again about a request that d admitted and that is still under
// way: a watch, or an upgraded connection. It returns nil as long as the request
// is admitted or nobody can tell whether it is, and else why it is not any more;
// then the request should be ended. t is what the request's path names now.
//
// Only the kind of authenticator that admitted the request can tell: another would
// vouch for another identity. So an issuer of a workspace type that never answers
// does not keep a request under way that the operator's authenticators refuse now:
// it is not even asked.
//
// The end of a token or certificate by itself ends nothing, as with
// kube-apiserver, unless Config.EndAtExpiry. After it, what is still noticed is
// that what had vouched is gone: the service account, the configuration that
// trusts the token's issuer, the certificate's CA.
func (a *Authenticator) Recheck(r *http.Request, t *index.Target, d *Decision) *Decision {
	if d.User == nil {
		return nil // passed through: the shard admitted it
	}
	if a.ended(d) {
		return a.afterEnd(r, t, d)
	}
	q := evaluation{ctx: r.Context(), purpose: token.ForRecheck, target: t, globalOnly: d.Authenticator != byWorkspace}
	fresh := a.decide(r, &q) //nolint:contextcheck // q has the request's
	switch {
	case fresh.PassThrough, fresh.User == nil && q.couldNotTell(d.Authenticator):
		return nil
	case fresh.User != nil && sameUser(fresh.User, d.User) && a.sameExtras(fresh, d):
		return nil
	case fresh.User != nil:
		return a.end(r, t, d, fmt.Sprintf("the credential now yields another identity: %q", fresh.User.GetName()))
	case a.ended(d):
		return a.afterEnd(r, t, d) // it ended meanwhile
	}
	fresh.Status, fresh.RetryAfter = http.StatusUnauthorized, 0
	q.presented.certificate(r)
	a.refusals.add(r, t, fresh, q.presented)
	return fresh
}

// couldNotTell says whether an authenticator of a kind was undecided. Those of
// certificates never are.
func (q *evaluation) couldNotTell(by string) bool {
	return by == byToken && q.globalUndecided || by == byWorkspace && q.typeUndecided
}

// RecheckPayer says for what a Recheck of d may have to wait, and who of those that
// wait for it pays: an owner of workspace types for the issuers that it names, and for
// what the operator configured each logical cluster. A service account is looked up at
// a shard. t is what the request's path named. Both are only compared.
func (d *Decision) RecheckPayer(t *index.Target) (source, payer string) {
	switch {
	case d.Authenticator == byWorkspace:
		return d.Authenticator, t.Type.Cluster
	case d.ServiceAccount && t.Shard != nil:
		return d.Authenticator + " " + t.Shard.Name, t.Cluster
	}
	return d.Authenticator, t.Cluster
}

func (a *Authenticator) ended(d *Decision) bool {
	return !d.ExpiresAt.IsZero() && !a.now().Before(d.ExpiresAt)
}

// afterEnd is for what was admitted until a time that has passed.
func (a *Authenticator) afterEnd(r *http.Request, t *index.Target, d *Decision) *Decision {
	if a.endAtExpiry {
		return a.end(r, t, d, "the credential ended at "+d.ExpiresAt.UTC().Format(time.RFC3339))
	}
	if reason := a.revocationReason(r, t, d); reason != "" {
		return a.end(r, t, d, reason)
	}
	return nil
}

// revocationReason is why what vouched for d, which has ended, does not any more; "" when it
// does, or nobody can tell.
func (a *Authenticator) revocationReason(r *http.Request, t *index.Target, d *Decision) string {
	if d.Authenticator != byToken && d.Authenticator != byWorkspace {
		if err := a.certs.CheckRevoked(peerCertificates(r), d.Authenticator, d.ExpiresAt); err != nil {
			return err.Error()
		}
		return ""
	}
	raw, err := bearer(r)
	if err != nil || raw == "" {
		return ""
	}
	token, members := token.Parse(raw), a.tokens
	if d.Authenticator == byWorkspace {
		q := evaluation{ctx: r.Context(), target: t}
		q.types = a.typeAuthenticators(&q) //nolint:contextcheck // q has the request's
		if len(q.verdicts) > 0 {
			return "" // a type or a configuration is not known now
		}
		members = nil
		if q.types != nil {
			members = q.types.ByIssuer[token.Issuer]
		}
	}
	return tokenRevocationReason(r.Context(), members, token, d.ExpiresAt)
}

// tokenRevocationReason is why none of the authenticators would accept the expired token
// otherwise; "" when one would, or cannot tell.
func tokenRevocationReason(ctx context.Context, members []token.Authenticator, t token.Token, until time.Time) string {
	reason := fmt.Sprintf("no configuration trusts issuer %q any more", clip.Clone(t.Issuer, maxPresented))
	for _, m := range members {
		l, ok := m.(token.RevocationChecker)
		if !ok {
			continue
		}
		known, err := l.CheckRevoked(ctx, t, until)
		switch {
		case known && err == nil, errors.Is(err, token.ErrUndecided):
			return ""
		case known:
			reason = err.Error()
		}
	}
	return reason
}

// end makes the Decision that ends a request, and keeps it to be explained.
func (a *Authenticator) end(r *http.Request, t *index.Target, d *Decision, reason string) *Decision {
	ended := &Decision{Status: http.StatusUnauthorized, Verdicts: []Verdict{{d.Authenticator, Refused, reason, d.Authenticator != byWorkspace}}}
	a.refusals.add(r, t, ended, presented(r))
	return ended
}

// sameUser compares who the identities are and what they may do by their groups.
func sameUser(a, b user.Info) bool {
	return a.GetName() == b.GetName() && a.GetUID() == b.GetUID() && sameSet(a.GetGroups(), b.GetGroups())
}

// sameExtras compares the rest. A webhook may say something new at every look,
// so of an identity that may be its own only those count that kcp acts upon:
// scopes, the cluster's name, warrants.
func (a *Authenticator) sameExtras(fresh, was *Decision) bool {
	all := a.webhook == nil || was.Authenticator != byToken
	one, other := fresh.User.GetExtra(), was.User.GetExtra()
	for _, extras := range []map[string][]string{one, other} {
		for key := range extras {
			if (all || strings.Contains(key, identity.KCPDomain)) && !sameSet(one[key], other[key]) {
				return false
			}
		}
	}
	return true
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
