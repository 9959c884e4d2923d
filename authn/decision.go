package authn

import (
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/authstatus"
	"frontproxy/authn/clientcert"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
)

// Outcome is what an authenticator, or Decide as a whole, made of a request, as operators read it.
type Outcome string

const (
	// Skipped says that the request carries no credential of the authenticator's kind.
	Skipped Outcome = "not asked"
	// Accepted says that the credential is good and the identity known.
	Accepted Outcome = "accepted"
	// Refused says that the credential was judged and is not good.
	Refused Outcome = "refused"
	// Undecided says that the authenticator could not judge it now (an issuer whose keys
	// were never read, a webhook that does not answer). Never treated as
	// Refused and never as Accepted.
	Undecided Outcome = "could not decide"
)

// Verdict is what one authenticator made of the request; see Decision.Verdicts.
type Verdict struct {
	// Authenticator names it, for example "client-certificate" or
	// "workspace 2kd9…/github jwt[0] https://issuer.example".
	Authenticator string  `json:"authenticator"`
	Outcome       Outcome `json:"outcome"`
	// Reason is for operators. It never holds a token or a secret.
	Reason string `json:"reason,omitempty"`
	// Private says that only operators may see Reason, because it may be about networks,
	// the operator's own configuration or other workspaces. Other reasons are for the
	// workspace's administrators as well.
	Private bool `json:"-"`
}

// Scope says who configured something: a small fixed set, fit for a metric label.
type Scope string

// The scopes: the operator's, which apply to all requests, and those of a workspace's type.
const (
	Global    Scope = "global"
	Workspace Scope = "workspace"
)

// Decision is the answer to one request: an identity to forward, a pass-through
// (the shard decides), or a refusal. Everything that forwards, logs, counts,
// audits or explains an answer reads it from here.
type Decision struct {
	// User is the identity to forward, guarded and scoped; nil when PassThrough
	// or refused. Read-only.
	User user.Info
	// PassThrough says the request goes on as it came, its Authorization header
	// included, for the shard to authenticate: no authenticator applies to it.
	PassThrough bool
	// Status is 200 when admitted (User or PassThrough), 401 when refused, 503
	// when nobody could decide.
	Status int
	// Undecided says whose authenticators could not decide, when Status is 503; else it is
	// empty.
	Undecided Scope
	// Authenticator is the kind of authenticator that admitted the request (a small fixed
	// set, fit for a metric label); empty otherwise.
	Authenticator string
	// AssertedBy is the common name of the certificate by which a shard asserted
	// User; empty when none did. Its shard is the one that the route names.
	AssertedBy string
	// ServiceAccount says that User is a service account whose own token admitted
	// the request.
	ServiceAccount bool
	// Infrastructure says that the certificate that admitted the request is a shard's or has
	// the group system:masters, also when that group is not forwarded: bounds on how often
	// clients may ask are not for it.
	Infrastructure bool
	// ExpiresAt is when the token or certificate that admitted the request expires; zero
	// when that is unknown or never.
	ExpiresAt time.Time

	// The rest is set on refusals, and by Explain.

	// Credential is what the request came with.
	Credential CredentialKind

	// ID names this refusal and the instance that made it.
	ID string
	// Verdicts has every authenticator that was asked, in order.
	Verdicts []Verdict
	// Guarded says what the guard removed or why it refused.
	Guarded []string
	// Versions are the configurations consulted, as "name@resourceVersion".
	Versions []string
}

// ByToken says that a token admitted the request. Its header is then within the limits of the
// authenticator that read it.
func (d *Decision) ByToken() bool {
	return d.Authenticator == byToken || d.Authenticator == byWorkspace
}

// Asserted says the same of the identity headers of a proxy or a shard.
func (d *Decision) Asserted() bool {
	return d.Authenticator == clientcert.ByRequestHeader || d.Authenticator == clientcert.ByShardCaller
}

// Result is what was decided, in a word: "admitted", "passed-through", "undecided" or
// "refused".
func (d *Decision) Result() string {
	switch {
	case d.User != nil:
		return "admitted"
	case d.PassThrough:
		return "passed-through"
	case d.Status == http.StatusServiceUnavailable:
		return "undecided"
	}
	return "refused"
}

// TypeSource finds the ready-made authenticators of a workspace type. It is a *workspacetypes.Index,
// or a *workspacetypes.DryRun while Explain tries a change.
type TypeSource interface {
	// Authenticators returns nil when the type names no configuration; an error
	// that wraps ErrUndecided when that is not known (the shard that holds the
	// type has never been read).
	Authenticators(t index.Type) (*workspacetypes.TypeAuthenticators, error)
	// DescribeType returns the states of the type's configurations and of their issuers.
	DescribeType(t index.Type) []authstatus.Authenticator
}
