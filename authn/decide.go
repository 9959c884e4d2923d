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

	"frontproxy/authn/clientcert"
	"frontproxy/authn/identity"
	"frontproxy/authn/issuer"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/clip"
)

// workspaceWait bounds how long all of a workspace type's authenticators for a token's issuer
// together may wait for issuers and evaluations.
const workspaceWait = 10 * time.Second

// Metric labels of the token authenticators.
const (
	byToken     = "token"
	byWorkspace = "workspace-token"
)

// Decide says who is asking, or why the request is not admitted. It waits for issuers, shards
// and the webhook no longer than until ctx ends, and not at all if r.NoWait is set.
//
// The order is kcp's: an asserted identity, a client certificate, a token; for
// a token first the global authenticators, then those of the workspace's type,
// the webhook last. After an authenticator's error or refusal the others are still asked.
// The request passes through only when no authenticator applies to it.
func (a *Authenticator) Decide(ctx context.Context, r Request) *Decision {
	if r.NoWait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		cancel() // what has to wait fails; all else goes on
	}
	q := evaluation{request: r}
	d := a.decide(ctx, &q)
	if d.User == nil && !d.PassThrough {
		q.presented.certificate(r.Certificates)
		d.Credential = q.presented.kind()
		a.refusals.add(&q.request, d, q.presented)
	}
	return d
}

// decide is Decide without keeping a refusal.
func (a *Authenticator) decide(ctx context.Context, q *evaluation) *Decision {
	r := &q.request
	who, refusals := a.certs.Authenticate(clientcert.Request{Certificates: r.Certificates, Header: r.Header, ShardRoute: r.ShardRoute})
	if who != nil {
		return q.admit(&Decision{User: who.User, Authenticator: who.Authenticator, ExpiresAt: who.ExpiresAt, AssertedBy: who.AssertedBy, Infrastructure: who.Infrastructure}, who.Authenticator)
	}
	for _, refusal := range refusals {
		q.verdicts = append(q.verdicts, Verdict{refusal.Authenticator, Refused, refusal.Reason, true})
	}
	q.global = len(r.Certificates) > 0 || len(a.config.Tokens) > 0 || a.config.Webhook != nil

	q.types = a.typeAuthenticators(q)
	raw, err := bearer(r.Header)
	switch {
	case err != nil:
		q.malformed, q.presented.Kind = true, MalformedKind
		q.addVerdict("credentials", Refused, err.Error())
	case raw != "":
		q.asked = true
		t := token.Parse(raw)
		t.Client, t.Cluster, t.Purpose = r.RemoteAddr, r.Target.Cluster, q.purpose
		q.presented.token(&t)
		if d := a.authenticateToken(ctx, q, t); d != nil {
			return q.admit(d, "")
		}
	}
	if !q.global && q.types == nil && !q.typeUnknown {
		return &Decision{PassThrough: true, Status: http.StatusOK}
	}
	return a.gateOff(q, q.refuse())
}

// evaluation is the state of one Decide.
type evaluation struct {
	request Request
	purpose token.Purpose
	types   *workspacetypes.TypeAuthenticators // nil: the type has no authenticators
	// typeUnknown: it is not known now whether the type has authenticators.
	typeUnknown bool
	// global: some global authenticator applies, so the request must be authenticated,
	// whatever its target.
	global bool
	// asked: there was a token, and every authenticator was asked about it.
	asked bool
	// malformed: no authenticator could read the credentials.
	malformed bool
	// globalOnly: the type's authenticators are not asked. A Recheck of a request that
	// a global authenticator admitted need not wait for issuers that a tenant chose.
	globalOnly bool
	// audiences are those that a review asks for; nil: a caller's token is judged, by the API's.
	audiences *reviewedAudiences
	presented CredentialSummary
	verdicts  []Verdict
	guarded   []string
	// globalUndecided: a global token authenticator was undecided; typeUndecided: one
	// of the type's was, or the type or one of its configurations is not known.
	globalUndecided, typeUndecided bool
}

func (q *evaluation) addVerdict(name string, o Outcome, reason string) {
	q.verdicts = append(q.verdicts, Verdict{Authenticator: name, Outcome: o, Reason: reason})
}

// typeAuthenticators finds the authenticators of the target's type; nil: there are none.
// If that is not known, it sets typeUnknown, and no request passes through. If the type has
// a name, but its owner does not exist, that is known: there are none. If it has an error and
// no name, the type itself is not known.
func (a *Authenticator) typeAuthenticators(q *evaluation) *workspacetypes.TypeAuthenticators {
	t := &q.request.Target.Type
	if a.config.Types == nil || t.Name == "" && t.Err == nil || t.Name != "" && errors.Is(t.Err, index.ErrUnknown) {
		return nil
	}
	var types *workspacetypes.TypeAuthenticators
	err := t.Err
	if err == nil {
		types, err = a.config.Types.Authenticators(*t)
	}
	if err != nil {
		q.typeUnknown, q.typeUndecided = true, true
		q.addVerdict(workspacetypes.TypeName(t), Undecided, undecidedReason(err))
		return nil
	}
	if types != nil {
		for _, reason := range types.Undecided {
			q.typeUndecided = true
			q.addVerdict(workspacetypes.TypeName(t), Undecided, reason)
		}
	}
	return types
}

// authenticateToken asks the authenticators that may know the token, until one accepts it;
// nil: none.
func (a *Authenticator) authenticateToken(ctx context.Context, q *evaluation, t token.Token) *Decision {
	for _, m := range a.config.Tokens {
		if d := a.globalToken(ctx, q, m, t); d != nil {
			return d
		}
	}
	named := false
	if q.types != nil {
		members := q.types.ByIssuer[t.Issuer]
		named = len(members) > 0
		if !named {
			q.addVerdict(workspacetypes.TypeName(&q.request.Target.Type), Refused, untrusted(&t))
		}
		if q.globalOnly {
			members = nil
		}
		if d := q.workspaceTokens(ctx, members, t); d != nil {
			return d
		}
	}
	if a.config.Webhook == nil || named {
		return nil
	}
	if q.typeUnknown && t.Issuer != "" && errors.Is(q.request.Target.Type.Err, index.ErrConflict) {
		// The type may name the issuer, and then the token is not the webhook's.
		q.globalUndecided = true
		q.addVerdict(a.config.Webhook.Name(), Undecided, "it is not known now whether the workspace's type names the token's issuer")
		return nil
	}
	return a.globalToken(ctx, q, a.config.Webhook, t)
}

func (a *Authenticator) globalToken(ctx context.Context, q *evaluation, m token.Authenticator, t token.Token) *Decision {
	u, until, err := q.authenticate(ctx, m, t)
	if err == nil && u != nil {
		u, err = a.groups.FilterGlobalUser(u)
	}
	if !q.accepted(m, u, until, err, true) {
		q.globalUndecided = q.globalUndecided || errors.Is(err, token.ErrUndecided)
		return nil
	}
	accounts, ok := m.(token.AccountAuthenticator)
	return &Decision{User: u, Authenticator: byToken, ExpiresAt: until, ServiceAccount: ok && accounts.Accounts()}
}

// workspaceTokens asks the type's authenticators for the token's issuer. They share one
// deadline: their discovery URLs may differ, so each may wait for its own fetch. After the
// deadline, those that need not wait still answer, and the others are undecided. Those that
// need not wait come first: an issuer that hangs must not delay callers whom another
// configuration admits.
func (q *evaluation) workspaceTokens(ctx context.Context, members []token.Authenticator, t token.Token) *Decision {
	if len(members) > 1 { // a single one has its own time limit
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, workspaceWait)
		defer cancel()
		members = readyFirst(members, t)
	}
	for _, m := range members {
		if d := q.workspaceToken(ctx, m, t); d != nil {
			return d
		}
	}
	return nil
}

// authenticate has m judge the token: a caller's by the API's audiences, a review's by those of the review.
func (q *evaluation) authenticate(ctx context.Context, m token.Authenticator, t token.Token) (user.Info, time.Time, error) {
	if q.audiences != nil {
		u, err := q.audiences.authenticate(ctx, m, t)
		return u, time.Time{}, err
	}
	return m.AuthenticateToken(ctx, t)
}

// readyFirst returns members with those at the end that may have to wait for their issuers.
func readyFirst(members []token.Authenticator, t token.Token) []token.Authenticator {
	var ready, others []token.Authenticator
	for _, m := range members {
		if r, ok := m.(token.ReadyChecker); ok && !r.Ready(t) {
			others = append(others, m)
		} else {
			ready = append(ready, m)
		}
	}
	return append(ready, others...)
}

// workspaceToken asks an authenticator that a tenant configured, and scopes the identity to
// the target's logical cluster.
func (q *evaluation) workspaceToken(ctx context.Context, m token.Authenticator, t token.Token) *Decision {
	u, until, err := q.authenticate(ctx, m, t)
	var g identity.Guarded
	if err == nil && u != nil {
		if q.request.Target.Cluster == "" {
			err = errors.New("the target has no logical cluster to tie the identity to")
		} else if g, err = identity.GuardWorkspaceUser(u); err == nil {
			q.guarded = append(q.guarded, g.Removed...)
		}
	}
	if !q.accepted(m, u, until, err, errors.Is(err, issuer.ErrUnavailable)) {
		q.typeUndecided = q.typeUndecided || errors.Is(err, token.ErrUndecided)
		return nil
	}
	return &Decision{User: g.Scoped(q.request.Target.Cluster), Authenticator: byWorkspace, ExpiresAt: until}
}

// accepted reports whether m accepted the token. It records m's verdict; an acceptance only for
// explanations. private is Verdict.Private.
func (q *evaluation) accepted(m token.Authenticator, u user.Info, until time.Time, err error, private bool) bool {
	v := Verdict{Authenticator: m.Name(), Private: private}
	switch {
	case errors.Is(err, token.ErrUndecided):
		v.Outcome, v.Reason = Undecided, undecidedReason(err)
	case err != nil:
		v.Outcome, v.Reason = Refused, err.Error()
	case u == nil:
		v.Outcome, v.Reason = Skipped, "not a token for this authenticator"
	case q.purpose != token.ForExplanation:
		return true
	default:
		v.Outcome, v.Reason = Accepted, accepts(until)
	}
	q.verdicts = append(q.verdicts, v)
	return v.Outcome == Accepted
}

// undecidedReason is the text of an error that wraps token.ErrUndecided, without that error's own
// text, since the verdict already says it.
func undecidedReason(err error) string {
	return strings.Replace(err.Error(), token.ErrUndecided.Error()+": ", "", 1)
}

// untrusted is the reason in the verdict of a workspace type that does not name the token's issuer.
func untrusted(t *token.Token) string {
	if !t.JWT {
		return "the token is no JWT, and the type's configurations accept nothing else"
	}
	return fmt.Sprintf("no configuration of the type trusts issuer %q", clip.Clone(t.Issuer, maxPresented))
}

// admit completes the Decision of an admitted request. by is the authenticator whose acceptance
// it records; "" when that has been recorded.
func (q *evaluation) admit(d *Decision, by string) *Decision {
	d.Status = http.StatusOK
	if q.purpose != token.ForExplanation { // only explanations show verdicts that admit
		return d
	}
	if by != "" {
		q.verdicts = append(q.verdicts, Verdict{Authenticator: by, Outcome: Accepted, Reason: accepts(d.ExpiresAt), Private: true})
	}
	q.attachTrace(d)
	return d
}

// attachTrace adds the verdicts, the guard's changes and the configurations to a Decision.
func (q *evaluation) attachTrace(d *Decision) {
	d.Verdicts, d.Guarded = q.verdicts, q.guarded
	if q.types != nil {
		d.Versions = q.types.Versions
	}
}

// accepts is the reason of a verdict that admits.
func accepts(until time.Time) string {
	if until.IsZero() {
		return "valid"
	}
	return "valid until " + until.UTC().Format(time.RFC3339)
}

// refuse makes the Decision of a request that no authenticator accepted: 503 when one that was
// undecided might have accepted the token, or when it is not known whether a credential is
// needed at all; else 401.
func (q *evaluation) refuse() *Decision {
	d := &Decision{Status: http.StatusUnauthorized}
	q.attachTrace(d)
	switch {
	case len(q.verdicts) > 0:
	case q.asked:
		d.Verdicts = []Verdict{{Authenticator: "credentials", Outcome: Refused, Reason: "no configured authenticator accepts bearer tokens"}}
	default:
		d.Verdicts = []Verdict{{Authenticator: "credentials", Outcome: Skipped, Reason: "the request has none, and this target requires one"}}
	}
	undecided := slices.ContainsFunc(q.verdicts, func(v Verdict) bool { return v.Outcome == Undecided })
	if q.asked && undecided || q.typeUnknown && !q.global && !q.malformed {
		d.Status, d.Undecided = http.StatusServiceUnavailable, Global
		if q.typeUndecided && !q.globalUndecided {
			d.Undecided = Workspace
		}
	}
	return d
}

// gateOff adds to a refusal of a JWT that the issuers of the target's type were not asked, if
// that is because none are known.
func (a *Authenticator) gateOff(q *evaluation, d *Decision) *Decision {
	if t := &q.request.Target.Type; a.config.Types == nil && q.asked && q.presented.Kind == jwtKind && t.Name != "" {
		d.Verdicts = append(d.Verdicts, Verdict{Authenticator: workspacetypes.TypeName(t), Outcome: Skipped, Reason: GateOff})
	}
	return d
}

// GateOff is the reason of the verdict of a workspace type while its issuers are not asked.
const GateOff = "issuers that the type names are not asked: the feature gate WorkspaceAuthentication is off"
