package workspacetypes

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/issuer"
	"frontproxy/authn/jwt"
	"frontproxy/authn/token"
)

// publishUsers renews the authenticators of the types that name c.
func (i *Index) publishUsers(c *configEntry) {
	for e := range c.users {
		i.publish(e)
	}
}

// publish renews the authenticators of a type. The old ones stay as they are for the
// requests that read them.
func (i *Index) publish(e *typeEntry) {
	published := &TypeAuthenticators{
		ByIssuer: map[string][]token.Authenticator{},
		Versions: []string{"workspacetype/" + e.name.name + "@" + e.version},
	}
	for _, c := range e.configs {
		c.addTo(published, e)
		if client, err := c.loginClient(); client != nil && err == nil {
			published.Login = append(published.Login, *client)
		}
	}
	if e.dropped > 0 {
		published.Undecided = append(published.Undecided, fmt.Sprintf("the type names %d more authentication configurations than the %d that the proxy uses", e.dropped, MaxConfigurations))
	}
	e.published = published
}

// addTo adds what c has to offer to a type's authenticators.
func (c *configEntry) addTo(published *TypeAuthenticators, e *typeEntry) {
	who := "authentication configuration " + c.name.name
	if c.state == stateMissing {
		published.Undecided = append(published.Undecided, who+" does not exist")
		return
	}
	published.Versions = append(published.Versions, "workspaceauthenticationconfiguration/"+c.name.name+"@"+c.object.version+c.staleNote())
	served := map[issuer.RefID]bool{}
	for _, a := range c.inUse.authenticators {
		served[a.IssuerID()] = true
		published.ByIssuer[a.Issuer().URL()] = append(published.ByIssuer[a.Issuer().URL()], jwt.BoundedAuthenticator{Authenticator: a, Types: e.evaluations, Owners: e.owner.evaluations})
	}
	why := c.notReadyReason()
	if why == "" {
		return
	}
	published.Undecided = append(published.Undecided, who+" "+why)
	// Nobody else is asked about tokens of an issuer that the type names.
	for i := range c.object.spec.Entries {
		if ref := jwt.RefOf(&c.object.spec.Entries[i]); !served[ref.ID()] {
			published.ByIssuer[ref.URL] = append(published.ByIssuer[ref.URL], notReady{
				name:   entryInWorkspace(c.name.cluster, c.name.name, i, ref.URL),
				issuer: ref.URL,
				reason: why,
			})
		}
	}
}

// notReadyReason says why c is not as its spec wants it; empty when it is.
func (c *configEntry) notReadyReason() string {
	err := c.broken()
	switch {
	case err != nil:
		return "is broken: " + err.Error()
	case c.state == stateWaiting:
		return "waits for the keys of its issuers"
	case c.state != stateReady:
		return "is being built"
	}
	return ""
}

// staleNote says that an earlier version serves; empty when none does.
func (c *configEntry) staleNote() string {
	if c.state == stateReady || len(c.inUse.authenticators) == 0 {
		return ""
	}
	return " (version " + c.inUse.version + " stays in use for issuers that are still trusted in the same way)"
}

// entryInWorkspace is what verdicts call an entry of a configuration.
func entryInWorkspace(cluster, name string, n int, issuer string) string {
	return fmt.Sprintf("workspace %s/%s jwt[%d] %s", cluster, name, n, issuer)
}

// notReady replaces an authenticator that is not built yet, or cannot be built.
type notReady struct{ name, issuer, reason string }

func (n notReady) Name() string { return n.name }

func (n notReady) AuthenticateToken(_ context.Context, t token.Token) (user.Info, time.Time, error) {
	if !t.JWT || t.Issuer != n.issuer {
		return nil, time.Time{}, nil
	}
	return nil, time.Time{}, fmt.Errorf("%w: the configuration %s", token.ErrUndecided, n.reason)
}
