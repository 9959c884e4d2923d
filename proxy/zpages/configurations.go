package zpages

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"

	"frontproxy/authn"
	"frontproxy/authn/identity"
	"frontproxy/authn/workspacetypes"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/ratelimit"
)

// AuthenticationPath is where, below each workspace, those who may read its
// WorkspaceAuthenticationConfigurations see their state: of all with GET, of one with its name
// after a slash. POST of a ConfigurationsRequest shows which state others would have.
const AuthenticationPath = "/debug/authentication"

const (
	// ownersTrying is how many workspaces' configurations are tried at once: one at a time of each.
	ownersTrying = 16
	// tryTimeout bounds one, and what it waits for issuers.
	tryTimeout = 15 * time.Second
)

// ConfigurationsRequest asks which state configurations would have.
type ConfigurationsRequest struct {
	// Change has the objects that are taken for applied in the workspace.
	Change *workspacetypes.Change `json:"change"`
	// Token is a bearer token to decide about; empty: none.
	Token string `json:"token,omitempty"`
}

// ConfigurationsPage is the state of a workspace's WorkspaceAuthenticationConfigurations, for
// their owner.
type ConfigurationsPage struct {
	// Instance is the proxy that says it: each has read the issuers by itself.
	Instance string `json:"instance"`
	// LogicalCluster is the workspace's.
	LogicalCluster string                               `json:"logicalCluster"`
	Configurations []workspacetypes.TenantConfiguration `json:"configurations"`
	// More is how many there are beside. Ask for one by its name.
	More int `json:"more,omitempty"`
	// Token says what becomes of the token in the request; nil: there was none.
	Token *TriedToken `json:"token,omitempty"`
}

// TriedToken says what the tried configurations decide about a token.
type TriedToken struct {
	Outcome    string                  `json:"outcome"`
	Credential authn.CredentialSummary `json:"credential"`
	// Identity is who its owner would be in a workspace of the type, without the scope that ties
	// it to that workspace; nil unless it is accepted.
	Identity *authenticationv1.UserInfo `json:"identity,omitempty"`
	Verdicts []authn.Verdict            `json:"verdicts,omitempty"`
	Guard    []string                   `json:"guard,omitempty"`
}

// Configurer tells owners about their configurations; *authn.Authenticator does.
type Configurer interface {
	// TenantConfigurations returns the configurations of a logical cluster, or the one with the
	// name. See authn.
	TenantConfigurations(cluster, name string) (all []workspacetypes.TenantConfiguration, more int, err error)
	// DryRunConfigurations returns the state that others would have. See authn.
	DryRunConfigurations(ctx context.Context, cluster string, change *workspacetypes.Change, token string) ([]workspacetypes.TenantConfiguration, *authn.Explanation, error)
}

// Configurations answers owners. It bounds how often.
type Configurations struct {
	configurer Configurer
	instance   string
	workspaces *ratelimit.PerKey
	tries      tries
}

// NewConfigurations makes one that asks c. instance names this process.
func NewConfigurations(c Configurer, instance string, now func() time.Time) *Configurations {
	return &Configurations{configurer: c, instance: instance, workspaces: newWorkspaceLimiter(now), tries: tries{now: sets.Set[string]{}}}
}

// ConfigurationName reports whether a path is one of Configurations', and which of them it
// names; empty: all.
func ConfigurationName(path string) (name string, ok bool) {
	if path == AuthenticationPath {
		return "", true
	}
	name, ok = strings.CutPrefix(path, AuthenticationPath+"/")
	return name, ok && len(validation.IsDNS1123Subdomain(name)) == 0
}

// Page returns the state of the configurations of a logical cluster. The caller must
// have authorized the reader. With a name it is about that one, and a 404 if there is none.
func (c *Configurations) Page(cluster, name string) (*ConfigurationsPage, *metav1.Status) {
	if !c.workspaces.Allow(cluster) {
		return nil, apistatus.TooManyExplanations()
	}
	all, more, err := c.configurer.TenantConfigurations(cluster, name)
	switch {
	case err != nil:
		return nil, apistatus.ForConfigurations(err)
	case name != "" && len(all) == 0:
		return nil, apistatus.NoConfiguration(name)
	}
	p := c.page(cluster, all)
	p.More = more
	return p, nil
}

func (c *Configurations) page(cluster string, all []workspacetypes.TenantConfiguration) *ConfigurationsPage {
	return &ConfigurationsPage{Instance: c.instance, LogicalCluster: cluster, Configurations: append([]workspacetypes.TenantConfiguration{}, all...)} // never null
}

// Try returns the state that the configurations in the body of r would have in a logical
// cluster. The caller must have checked that the client may change them there.
func (c *Configurations) Try(r *http.Request, cluster string) (*ConfigurationsPage, *metav1.Status) {
	if !c.workspaces.Allow(cluster) {
		return nil, apistatus.TooManyExplanations()
	}
	var q ConfigurationsRequest
	if err := readQuestion(r, "a ConfigurationsRequest", &q); err != nil {
		return nil, apistatus.BadRequest("%s", err.Error())
	}
	if q.Change == nil {
		return nil, apistatus.BadRequest("the body is a ConfigurationsRequest without a change")
	}
	leave, ok := c.tries.enter(cluster)
	if !ok {
		return nil, apistatus.TooManyExplanations()
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), tryTimeout)
	defer cancel()
	all, told, err := c.configurer.DryRunConfigurations(ctx, cluster, q.Change, q.Token)
	if err != nil {
		return nil, apistatus.BadRequest("the configurations can't be tried: %s", err.Error())
	}
	p := c.page(cluster, all)
	if told != nil {
		p.Token = triedToken(told)
	}
	return p, nil
}

// triedToken leaves out what an owner may not see, which is the text of verdicts about networks,
// and the scope, which names the workspace that the request was for.
func triedToken(told *authn.Explanation) *TriedToken {
	out := &TriedToken{Outcome: told.Decision.Result(), Credential: told.Presented, Guard: told.Decision.Guarded}
	for _, v := range told.Decision.Verdicts {
		if v.Private {
			v.Reason = "the issuer's keys could not be read; see the issuer's error"
		}
		out.Verdicts = append(out.Verdicts, v)
	}
	if out.Identity = identity.UserInfo(told.Decision.User); out.Identity != nil {
		delete(out.Identity.Extra, identity.ScopesKey)
		delete(out.Identity.Extra, identity.ClusterNameKey)
	}
	return out
}

// tries has the logical clusters that try configurations now.
type tries struct {
	mu  sync.Mutex
	now sets.Set[string]
}

// enter takes the logical cluster's place, until leave.
func (t *tries) enter(cluster string) (leave func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now.Has(cluster) || len(t.now) >= ownersTrying {
		return nil, false
	}
	t.now.Insert(cluster)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.now.Delete(cluster)
	}, true
}
