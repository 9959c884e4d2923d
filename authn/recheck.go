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
// way: a watch, or an upgraded connection. It returns nil while the request is admitted,
// and while it is not known whether it is; else a refusal, and the caller should end the
// request. r is the request as it came, with the target that its path names now.
//
// Only the kind of authenticator that admitted the request can be undecided about it,
// because another one would accept another identity. So if the operator's authenticators
// refuse a request that they admitted, an issuer of a workspace type that never answers
// does not keep it open: it is not even asked.
//
// The expiry of a token or certificate by itself ends nothing, as with kube-apiserver,
// unless Config.EndAtExpiry is set. After the expiry, a request ends when what the
// credential depends on is gone: the service account, the configuration that trusts the
// token's issuer, the certificate's CA.
func (a *Authenticator) Recheck(ctx context.Context, r Request, d *Decision) *Decision {
	if d.User == nil {
		return nil // passed through: the shard admitted it
	}
	if a.ended(d) {
		return a.afterEnd(ctx, r, d)
	}
	q := evaluation{request: r, purpose: token.ForRecheck, globalOnly: d.Authenticator != byWorkspace}
	fresh := a.decide(ctx, &q)
	switch {
	case fresh.PassThrough, fresh.User == nil && q.couldNotTell(d.Authenticator):
		return nil
	case fresh.User != nil && sameUser(fresh.User, d.User) && a.sameExtras(fresh, d):
		return nil
	case fresh.User != nil:
		return a.end(r, d, fmt.Sprintf("the credential now yields another identity: %q", fresh.User.GetName()))
	case a.ended(d):
		return a.afterEnd(ctx, r, d) // it ended meanwhile
	}
	fresh.Status = http.StatusUnauthorized
	q.presented.certificate(r.Certificates)
	a.refusals.add(&q.request, fresh, q.presented)
	return fresh
}

// couldNotTell reports whether an authenticator of the kind by was undecided. Authenticators
// of certificates never are.
func (q *evaluation) couldNotTell(by string) bool {
	return by == byToken && q.globalUndecided || by == byWorkspace && q.typeUndecided
}

// RecheckFlow names what a Recheck of d may have to wait for (source), and whose share
// of that it uses (flow). The source is the issuers of workspace types, what the operator
// configured, or, for a service account, the shard where it is looked up. The flow is the
// logical cluster that has the type, for the issuers of types, else the one of the request.
// t is what the request's path named. Both names are only compared.
func (d *Decision) RecheckFlow(t *index.Target) (source, flow string) {
	switch {
	case d.Authenticator == byWorkspace:
		return d.Authenticator, t.Type.Cluster
	case d.ServiceAccount && t.Shard != nil:
		return d.Authenticator + " " + t.Shard.Name, t.Cluster
	}
	return d.Authenticator, t.Cluster
}

func (a *Authenticator) ended(d *Decision) bool {
	return !d.ExpiresAt.IsZero() && !a.config.Now().Before(d.ExpiresAt)
}

// afterEnd decides again about a request whose credential has expired.
func (a *Authenticator) afterEnd(ctx context.Context, r Request, d *Decision) *Decision {
	if a.config.EndAtExpiry {
		return a.end(r, d, "the credential ended at "+d.ExpiresAt.UTC().Format(time.RFC3339))
	}
	if reason := a.revocationReason(ctx, r, d); reason != "" {
		return a.end(r, d, reason)
	}
	return nil
}

// revocationReason is why the expired credential of d would not be accepted now even if it
// had not expired; "" when it would, or when that is not known.
func (a *Authenticator) revocationReason(ctx context.Context, r Request, d *Decision) string {
	if d.Authenticator != byToken && d.Authenticator != byWorkspace {
		if err := a.certs.CheckRevoked(r.Certificates, d.Authenticator, d.ExpiresAt); err != nil {
			return err.Error()
		}
		return ""
	}
	raw, err := bearer(r.Header)
	if err != nil || raw == "" {
		return ""
	}
	token, members := token.Parse(raw), a.config.Tokens
	if d.Authenticator == byWorkspace {
		q := evaluation{request: r}
		q.types = a.typeAuthenticators(&q)
		if len(q.verdicts) > 0 {
			return "" // a type or a configuration is not known now
		}
		members = nil
		if q.types != nil {
			members = q.types.ByIssuer[token.Issuer]
		}
	}
	return tokenRevocationReason(ctx, members, token, d.ExpiresAt)
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
func (a *Authenticator) end(r Request, d *Decision, reason string) *Decision {
	ended := &Decision{Status: http.StatusUnauthorized, Verdicts: []Verdict{{d.Authenticator, Refused, reason, d.Authenticator != byWorkspace}}}
	a.refusals.add(&r, ended, presented(&r))
	return ended
}

// sameUser compares name, UID and groups.
func sameUser(a, b user.Info) bool {
	return a.GetName() == b.GetName() && a.GetUID() == b.GetUID() && sameSet(a.GetGroups(), b.GetGroups())
}

// sameExtras compares the extras. A webhook may return other ones at every call, so for
// an identity that may be a webhook's only those count that kcp acts upon: scopes, the
// cluster's name, warrants.
func (a *Authenticator) sameExtras(fresh, was *Decision) bool {
	all := a.config.Webhook == nil || was.Authenticator != byToken
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
