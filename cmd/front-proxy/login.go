package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"frontproxy/authn/oidc"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/protectedresource"
	"frontproxy/proxy/logindiscovery"
)

// The keys of --login-client.
const (
	loginIssuer     = "issuer-url"
	loginClientID   = "client-id"
	loginName       = "name"
	loginScopes     = "scopes"
	loginCAFile     = "ca-file"
	loginSecretFile = "client-secret-file"
)

var loginKeys = []string{loginIssuer, loginClientID, loginName, loginScopes, loginCAFile, loginSecretFile}

// loginDiscoveryOn reports whether the gate is on; AllAlpha turns it on only if
// --external-url is set.
func (o *options) loginDiscoveryOn() bool {
	return o.gates.enabled(gateLoginDiscovery) && (o.gates.set[gateLoginDiscovery] || len(o.routing.externalURLs) > 0)
}

// validateLogin validates the flags of login discovery.
func (o *options) validateLogin() error {
	clients, err := parseLoginClients(o.loginClients)
	if err != nil || !o.loginDiscoveryOn() {
		return err
	}
	urls, err := externalURLs(o.routing.externalURLs)
	if err != nil {
		return nil // reported elsewhere
	}
	_, err = logindiscovery.New(logindiscovery.Config{URLs: urls, Operator: clients})
	return err
}

// parseLoginClients reads --login-client.
func parseLoginClients(texts []string) ([]protectedresource.Client, error) {
	var all []protectedresource.Client
	var errs []error
	for _, text := range texts {
		client, err := parseLoginClient(text)
		if err == nil {
			err = client.Validate()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--login-client: %w", err))
			continue
		}
		all = append(all, client)
	}
	return all, errors.Join(errs...)
}

// parseLoginClient reads the files that a client names once, at the start. Their
// content is published and clients may store it, like the client ID. So a change of
// it counts as a change of the flag and needs a restart.
func parseLoginClient(text string) (protectedresource.Client, error) {
	var c protectedresource.Client
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return c, fmt.Errorf("%q is not a comma-separated list: %w", text, err)
	}
	values := map[string]string{}
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		key = strings.TrimSpace(key)
		keys := strings.Join(loginKeys, ", ")
		switch _, twice := values[key]; {
		case !ok:
			return c, fmt.Errorf("%q is not of the form key=value; the keys are %s", f, keys)
		case !slices.Contains(loginKeys, key):
			return c, fmt.Errorf("unknown key %q; the keys are %s", key, keys)
		case twice:
			return c, fmt.Errorf("the key %q occurs twice", key)
		}
		values[key] = strings.TrimSpace(value)
	}
	c.Issuer, c.ClientID, c.Name = values[loginIssuer], values[loginClientID], values[loginName]
	if c.Scopes = strings.Fields(values[loginScopes]); len(c.Scopes) == 0 {
		c.Scopes = []string{protectedresource.OpenID}
	}
	for key, to := range map[string]*string{loginCAFile: &c.CertificateAuthority, loginSecretFile: &c.ClientSecret} {
		if values[key] == "" {
			continue
		}
		data, err := os.ReadFile(values[key]) //nolint:gosec // the operator names it
		if err != nil {
			return c, fmt.Errorf("%s: %w", key, err)
		}
		if *to = strings.TrimSpace(string(data)); *to == "" {
			return c, fmt.Errorf("%s: %q is empty", key, values[key])
		}
	}
	return c, nil
}

// loginDiscovery returns nil if login discovery is off. types is nil if workspace
// authentication is off.
func (o *options) loginDiscovery(idx *index.Index, types *workspacetypes.Index, tokens []token.Authenticator) (*logindiscovery.Discovery, error) {
	if !o.loginDiscoveryOn() {
		return nil, nil
	}
	config := logindiscovery.Config{URLs: must(externalURLs(o.routing.externalURLs)), Lookup: idx.Lookup} // validated
	var err error
	if config.Operator, err = parseLoginClients(o.loginClients); err != nil {
		return nil, err
	}
	if err := o.acceptsLogins(config.Operator, tokens); err != nil {
		return nil, err
	}
	if types != nil {
		config.Type = types.LoginClients
	}
	return logindiscovery.New(config)
}

// acceptsLogins returns an error for each client whose issuer's tokens no
// authenticator accepts. A webhook may accept any token.
func (o *options) acceptsLogins(clients []protectedresource.Client, tokens []token.Authenticator) error {
	var errs []error
	for i := range clients {
		if issuer := clients[i].Issuer; o.auth.webhook.ConfigFile == "" && !accepts(tokens, issuer) {
			errs = append(errs, fmt.Errorf("--login-client: no authenticator accepts tokens of %s: set exactly this URL as --oidc-issuer-url or in --authentication-config", issuer))
		}
	}
	return errors.Join(errs...)
}

// accepts reports whether an issuer is one of the operator's.
func accepts(tokens []token.Authenticator, issuer string) bool {
	return slices.ContainsFunc(tokens, func(a token.Authenticator) bool {
		o, ok := a.(*oidc.Authenticator)
		return ok && slices.Contains(o.Issuers(), issuer)
	})
}
