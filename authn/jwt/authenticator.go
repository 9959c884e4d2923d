package jwt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"frontproxy/authn/authstatus"
	"frontproxy/authn/expression"
	"frontproxy/authn/identity"
	"frontproxy/authn/issuer"
	"frontproxy/authn/token"
	"frontproxy/internal/bytecache"
	"frontproxy/internal/clip"
)

const (
	// evaluationWait is how long a token waits, at most, for a slot among those
	// whose CEL expressions run.
	evaluationWait = 5 * time.Second
	// evaluationTime is the most one token's expressions may take. Their budget
	// ends them after a tenth of that, unless the machine is overloaded.
	evaluationTime = time.Second
	// notBeforeLeeway is what upstream grants clocks that differ.
	notBeforeLeeway = time.Minute
)

// Authenticator is one entry of a configuration's spec.jwt, ready to use. It
// is immutable except for its caches and counts, and safe for concurrent use.
//
// It looks at audience and times itself, then has the issuer verify the
// signature, and leaves claims, mappings and rules to apiserver's OIDC
// authenticator, which is given the verified payload and checks everything
// once more. So refusals have a precise reason, and waiting for an issuer's keys
// happens before, not while, a slot among the type's evaluations is held.
type Authenticator struct {
	name     string
	issuer   *issuer.Issuer
	issuerID issuer.RefID
	upstream authenticator.Token
	// audiences are the configuration's; a token must have one of them, and one
	// of required too unless that is empty.
	audiences, required []string
	// audienceSet and requiredSet are the same, for look-ups that do not take longer for a
	// longer list.
	audienceSet, requiredSet sets.Set[string]
	// maxToken bounds a token, in bytes, and limits the identity that it maps to.
	maxToken int
	limits   identity.Limits
	// evaluates says that there are CEL expressions. Without, none is run, and
	// nobody waits for a slot.
	evaluates bool
	digester  *token.Digester
	cache     token.Cache[user.Info]
	// mappings remembers what expressions made of verified payloads, refusals included. A
	// payload is looked up here only after its signature was verified.
	mappings *bytecache.Cache[token.Digest, mapping]
	// evaluations has a slot for each evaluation that may run now, for all types of
	// all owners; nil means no limit.
	evaluations chan struct{}
	clock       clock.PassiveClock
	built       time.Time
	recent      recentRefusals
}

// BoundedAuthenticator is an Authenticator with a bound on how many evaluations run at once, which
// it shares with others: those of its workspace type, or of the operator's configuration.
type BoundedAuthenticator struct {
	*Authenticator
	// Types has a slot for each evaluation that may run now, for all authenticators of the
	// type; Owners has the same for all types of its owner. nil means no limit.
	Types, Owners chan struct{}
}

// Name implements token.Authenticator.
func (a *Authenticator) Name() string { return a.name }

// Issuer is the issuer that it trusts.
func (a *Authenticator) Issuer() *issuer.Issuer { return a.issuer }

// Built is when it was built, and so began to use its issuer.
func (a *Authenticator) Built() time.Time { return a.built }

// IssuerID identifies its issuer.
func (a *Authenticator) IssuerID() issuer.RefID { return a.issuerID }

// Sweep forgets what has ended.
func (a *Authenticator) Sweep(now time.Time) {
	a.cache.Sweep(now)
	a.mappings.RemoveFunc(func(m mapping) bool { return !now.Before(m.expiry) })
}

// Describe returns the state of a's issuer.
func (a *Authenticator) Describe(name string, workspace bool) authstatus.Authenticator {
	s := a.issuer.Status()
	return authstatus.Authenticator{Name: name, Workspace: workspace, State: string(s.State), Detail: fmt.Sprintf("wants an audience of %q", a.audiences), Issuer: &s}
}

// Audiences are the configuration's: a token must have one of them. Read-only.
func (a *Authenticator) Audiences() []string { return a.audiences }

// RecentRefusals counts the tokens of requests that were not accepted in the last hour, by
// reason; nil: there were none. It starts again when the configuration's spec changes.
func (a *Authenticator) RecentRefusals() map[token.Reason]int { return a.recent.counts(a.clock.Now()) }

// AuthenticateToken implements token.Authenticator.
func (b BoundedAuthenticator) AuthenticateToken(ctx context.Context, t token.Token) (user.Info, time.Time, error) {
	u, until, err := b.authenticate(ctx, t)
	if err != nil && t.Purpose == token.ForAdmission {
		b.recent.add(err, b.clock.Now())
	}
	return u, until, err
}

func (b BoundedAuthenticator) authenticate(ctx context.Context, t token.Token) (user.Info, time.Time, error) {
	a := b.Authenticator
	if !t.JWT || t.Issuer != a.issuer.URL() {
		return nil, time.Time{}, nil
	}
	if len(t.Raw) > a.maxToken {
		return nil, time.Time{}, token.Refuse(token.ReasonMalformed, "token has %d bytes, at most %d are allowed", len(t.Raw), a.maxToken)
	}
	now, generation := a.clock.Now(), a.issuer.Generation()
	key := a.digester.Digest(t.Raw)
	if u, expiry, ok := a.cache.Get(key, now, generation); ok {
		return u, expiry, nil
	}
	claims, err := a.verify(ctx, t.Raw, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	u, err := b.evaluate(ctx, t.Raw, claims)
	if err != nil {
		return nil, time.Time{}, err
	}
	a.cache.Add(key, u, claims.Expiry, now, generation, identity.KeptBytes(u))
	return u, claims.Expiry, nil
}

// Ready implements token.ReadyChecker. A token that was verified before is not
// parsed for that.
func (b BoundedAuthenticator) Ready(t token.Token) bool {
	_, _, verified := b.cache.Get(b.digester.Digest(t.Raw), b.clock.Now(), b.issuer.Generation())
	return verified || b.issuer.HasKey(t.Raw)
}

// CheckRevoked implements token.RevocationChecker: it checks that the configuration still
// trusts the issuer for the token's audience. It does not check the signature, because issuers
// drop a key once all that it signed has expired; nor claim rules.
func (b BoundedAuthenticator) CheckRevoked(_ context.Context, t token.Token, until time.Time) (bool, error) {
	if !t.JWT || t.Issuer != b.issuer.URL() {
		return false, nil
	}
	claims, err := token.ReadClaims(t.Raw)
	if err != nil {
		return true, token.Refuse(token.ReasonMalformed, "%w", err)
	}
	return true, b.check(claims, until.Add(-time.Second))
}

// verify checks audience, times and signature.
func (a *Authenticator) verify(ctx context.Context, raw string, now time.Time) (*token.Claims, error) {
	claims, err := token.ReadClaims(raw)
	if err != nil {
		return nil, token.Refuse(token.ReasonMalformed, "%w", err)
	}
	if err := a.check(claims, now); err != nil {
		return nil, err
	}
	payload, err := a.issuer.Verify(ctx, raw)
	switch {
	case errors.Is(err, issuer.ErrUnavailable):
		return nil, fmt.Errorf("%w: %w", token.ErrUndecided, err)
	case errors.Is(err, issuer.ErrUnknownKey):
		return nil, token.Refuse(token.ReasonUnknownKey, "%w", err)
	case err != nil:
		return nil, token.Refuse(token.ReasonSignature, "%w", err)
	case !bytes.Equal(payload, claims.Payload):
		return nil, token.Refuse(token.ReasonSignature, "the signed payload differs from the one that was read")
	}
	return claims, nil
}

// check is cheap, so it comes before anything that may fetch or compute.
func (a *Authenticator) check(c *token.Claims, now time.Time) error {
	switch {
	case !a.audienceSet.HasAny(c.Audiences...):
		return token.Refuse(token.ReasonAudience, "audience: the token is for %s, the configuration wants one of %s", clip.Quoted(c.Audiences), clip.Quoted(a.audiences))
	case len(a.required) > 0 && !a.requiredSet.HasAny(c.Audiences...):
		return token.Refuse(token.ReasonAudience, "audience: the token is for %s, --api-audiences wants one of %s too", clip.Quoted(c.Audiences), clip.Quoted(a.required))
	case c.Expiry.IsZero():
		return token.Refuse(token.ReasonMalformed, "the token has no expiry")
	case !now.Before(c.Expiry):
		return token.Refuse(token.ReasonExpired, "the token expired at %s", c.Expiry.UTC().Format(time.RFC3339))
	case now.Add(notBeforeLeeway).Before(c.NotBefore):
		return token.Refuse(token.ReasonNotYetValid, "the token is not valid before %s", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// evaluate maps the claims of a verified token and applies the rules. If the configuration
// has expressions, the outcome is remembered by the payload, which alone decides it; refusals
// are remembered, too.
func (b BoundedAuthenticator) evaluate(ctx context.Context, raw string, claims *token.Claims) (user.Info, error) {
	ctx = context.WithValue(ctx, verifiedKey{}, &verifiedToken{issuer: b.issuer, raw: raw, payload: claims.Payload})
	if !b.evaluates {
		return b.applyUpstream(ctx, raw)
	}
	key := b.digester.Digest(string(claims.Payload))
	if known, ok := b.mappings.Get(key); ok {
		return known.user, known.err
	}
	if err := checkNesting(claims.Payload); err != nil {
		return nil, err
	}
	release, err := b.acquireEvaluation(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, evaluationTime)
	defer cancel()
	budget := expression.NewBudget(len(claims.Payload))
	u, err := b.applyUpstream(expression.WithBudget(ctx, budget), raw)
	if err != nil && (errors.Is(err, token.ErrUndecided) || !budget.Used()) {
		return nil, err
	}
	outcome := mapping{user: u, err: err, expiry: claims.Expiry}
	b.mappings.Add(key, outcome, outcome.size())
	return u, err
}

// applyUpstream has apiserver's authenticator apply mappings and rules.
func (b BoundedAuthenticator) applyUpstream(ctx context.Context, raw string) (user.Info, error) {
	response, ok, err := b.upstream.AuthenticateToken(ctx, raw)
	switch {
	case errors.Is(err, expression.ErrBudget):
		return nil, fmt.Errorf("%w; simplify the configuration or the token", expression.ErrBudget)
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: the configuration's expressions did not end in time: %w", token.ErrUndecided, ctx.Err())
	case err != nil:
		return nil, upstreamReason(err)
	case !ok || response == nil || response.User == nil:
		return nil, errors.New("the token is not the issuer's")
	}
	return identity.Normalize(response.User, b.limits)
}

// upstreamReason makes an error fit for operators. Upstream's errors quote
// claims and expressions, never the token; the endpoints of distributed claims
// may carry secrets.
func upstreamReason(err error) error {
	reason := strings.TrimPrefix(err.Error(), "oidc: ")
	if strings.Contains(reason, "distributed claim") {
		return errors.New("the token refers to distributed claims, which the proxy does not fetch")
	}
	return errors.New(clip.Clone(reason, 500))
}

// verifiedKey is the context key of a *verifiedToken.
type verifiedKey struct{}

// verifiedToken hands a payload whose signature was verified through upstream
// to the preverifiedKeySet below.
type verifiedToken struct {
	issuer  *issuer.Issuer
	raw     string
	payload []byte
}

// preverifiedKeySet is the key set that upstream gets. It answers with the payload that
// was verified just before, for that token and issuer only.
type preverifiedKeySet struct{ issuer *issuer.Issuer }

// VerifySignature implements go-oidc's KeySet.
func (k preverifiedKeySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	if v, ok := ctx.Value(verifiedKey{}).(*verifiedToken); ok && v.issuer == k.issuer && v.raw == raw {
		return v.payload, nil
	}
	return k.issuer.Verify(ctx, raw)
}
