package authn

import (
	"crypto/x509"
	"time"

	"frontproxy/authn/clientcert"
	"frontproxy/authn/identity"
	"frontproxy/authn/token"
)

// Config is what an Authenticator is made of. The zero Config knows no
// authenticator: every request passes through, for the shard to decide.
type Config struct {
	// ClientCAs is --client-ca-file; nil: client certificates name no users.
	ClientCAs clientcert.CAPool
	// RequestHeader is nil when no proxy may assert identities.
	RequestHeader *clientcert.RequestHeader
	// Tokens are the global token authenticators in the order they are asked:
	// token file, service accounts, OIDC.
	Tokens []token.Authenticator
	// Webhook is asked last, and never about a token of an issuer that the
	// workspace's type names; nil: none.
	Webhook token.Authenticator
	// Types has the authenticators of workspace types; nil while the feature
	// WorkspaceAuthentication is off.
	Types TypeSource
	// PassOnGroups and DropGroups filter the groups of global identities; see
	// identity.GroupFilter. Empty PassOnGroups passes on all.
	PassOnGroups, DropGroups []string
	// ShardClients are the client certificates of shards: below /shards/<name>/services/
	// their identities keep the groups that DropGroups removes. Empty: there are none.
	ShardClients []clientcert.ShardClient
	// ShardCallers are the certificates with which shards assert their callers'
	// identities, each for its own shard; see clientcert.ShardCaller. They need
	// RequestHeader, and may not be among its AllowedNames. Empty: no shard may.
	ShardCallers []clientcert.ShardCaller
	// EndAtExpiry ends watches and upgraded connections when the token or
	// certificate that opened them expires; see Recheck.
	EndAtExpiry bool
	// APIAudiences are those of the API, for reviews: --api-audiences, else the issuers of
	// service accounts. Empty: a review that asks for none gets no audience checked.
	APIAudiences []string
	// Instance names this process in the ids of refusals.
	Instance string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Authenticator decides who is asking. It is the only place in the program
// that admits or refuses. Safe for concurrent use.
type Authenticator struct {
	config   Config
	certs    *clientcert.Authenticator
	groups   identity.GroupFilter
	refusals *RefusalLog
}

// New does no I/O. It fails on a configuration in which a user's certificate
// could assert identities.
func New(c Config) (*Authenticator, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	groups := identity.GroupFilter{PassOn: identity.NewGroupSet(c.PassOnGroups), Drop: identity.NewGroupSet(c.DropGroups)}
	certs, err := clientcert.New(clientcert.Config{
		ClientCAs: c.ClientCAs, RequestHeader: c.RequestHeader, ShardClients: c.ShardClients, ShardCallers: c.ShardCallers, Groups: groups, Now: c.Now,
	})
	return &Authenticator{config: c, certs: certs, groups: groups, refusals: newRefusalLog(c.Instance, c.Now)}, err
}

// Refusals returns the recent refusals, for explanations.
func (a *Authenticator) Refusals() *RefusalLog { return a.refusals }

// Infrastructure says about a client certificate what Decision.Infrastructure says, but before
// there is a Decision.
func (a *Authenticator) Infrastructure(certs []*x509.Certificate) bool {
	return a.certs.Infrastructure(certs)
}
