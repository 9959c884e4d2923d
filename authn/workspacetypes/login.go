package workspacetypes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/apis/apiserver"

	"frontproxy/index"
	"frontproxy/internal/protectedresource"
)

// The annotations with which the owner of a WorkspaceAuthenticationConfiguration
// publishes how people log in at one of its issuers. Without the first one, nothing
// is published.
const (
	LoginClientIDAnnotation     = "front-proxy.kcp.io/login-client-id"
	LoginScopesAnnotation       = "front-proxy.kcp.io/login-scopes"
	LoginIssuerAnnotation       = "front-proxy.kcp.io/login-issuer"
	LoginNameAnnotation         = "front-proxy.kcp.io/login-name"
	LoginClientSecretAnnotation = "front-proxy.kcp.io/login-client-secret" //nolint:gosec // a name, no secret
)

// LoginAnnotations is how their names begin.
const LoginAnnotations = "front-proxy.kcp.io/login-"

// loginAnnotations are their values.
type loginAnnotations struct{ clientID, scopes, issuer, name, secret string }

// maxLoginAnnotation is how many bytes of each are kept: more than any may have.
const maxLoginAnnotation = 16 << 10

func (a loginAnnotations) bounded() loginAnnotations {
	for _, text := range []*string{&a.clientID, &a.scopes, &a.issuer, &a.name, &a.secret} {
		if len(*text) > maxLoginAnnotation {
			*text = strings.Clone((*text)[:maxLoginAnnotation])
		}
	}
	return a
}

func loginAnnotationsOf(all map[string]string) loginAnnotations {
	return loginAnnotations{
		clientID: all[LoginClientIDAnnotation], scopes: all[LoginScopesAnnotation], issuer: all[LoginIssuerAnnotation],
		name: all[LoginNameAnnotation], secret: all[LoginClientSecretAnnotation],
	}.bounded()
}

// loginClient is the client that c's owner publishes to people without a login; nil when there
// is none. The error says why it cannot be published.
func (c *configEntry) loginClient() (*protectedresource.Client, error) {
	if c.object.login == (loginAnnotations{}) {
		return nil, nil
	}
	client, err := c.loginOf()
	if err == nil {
		err = client.Validate()
	}
	if err != nil {
		return nil, err
	}
	return client, nil
}

func (c *configEntry) loginOf() (*protectedresource.Client, error) {
	if c.object.login.clientID == "" {
		return nil, fmt.Errorf("the annotation %s is missing or empty", LoginClientIDAnnotation)
	}
	if c.broken() != nil {
		return nil, errors.New("the configuration is broken")
	}
	entries := c.object.spec.Entries
	i := 0
	switch {
	case c.object.login.issuer != "":
		if i = slices.IndexFunc(entries, func(e apiserver.JWTAuthenticator) bool { return e.Issuer.URL == c.object.login.issuer }); i < 0 {
			return nil, fmt.Errorf("the annotation %s names an issuer that spec.jwt does not have", LoginIssuerAnnotation)
		}
	case len(entries) != 1:
		return nil, fmt.Errorf("spec.jwt has %d entries: choose one with the annotation %s", len(entries), LoginIssuerAnnotation)
	}
	from := &entries[i].Issuer
	switch {
	case from.DiscoveryURL != "":
		return nil, fmt.Errorf("spec.jwt[%d].issuer has a discoveryURL, which programs that log in do not use", i)
	case !slices.Contains(from.Audiences, c.object.login.clientID):
		return nil, fmt.Errorf("the client ID is not in spec.jwt[%d].issuer.audiences: tokens for it would be refused", i)
	}
	scopes := strings.Fields(c.object.login.scopes)
	if len(scopes) == 0 {
		scopes = []string{protectedresource.OpenID}
	}
	return &protectedresource.Client{
		Issuer: from.URL, Name: c.object.login.name, ClientID: c.object.login.clientID, ClientSecret: c.object.login.secret, Scopes: scopes, CertificateAuthority: from.CertificateAuthority,
	}, nil
}

// loginError says why the client that c's owner wants to publish is not published; empty when it
// is, or when there is none.
func (c *configEntry) loginError() string {
	if _, err := c.loginClient(); err != nil {
		return err.Error()
	}
	return ""
}

// LoginClients are the clients that the type's owner wants people without a login
// to know, in the type's order; none when the type is not known. The caller must
// not change them.
func (i *Index) LoginClients(t index.Type) []protectedresource.Client {
	if t.Name == "" || t.Err != nil {
		return nil
	}
	types, err := i.Authenticators(t)
	if err != nil || types == nil {
		return nil
	}
	return types.Login
}
