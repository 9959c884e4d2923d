package main

import (
	"math"
	"net/http"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"frontproxy/authn"
	"frontproxy/authn/issuer"
	"frontproxy/authn/oidc"
	"frontproxy/authn/token"
	"frontproxy/authn/tokenfile"
	"frontproxy/authn/webhook"
	"frontproxy/index"
	"frontproxy/internal/egress"
)

// globalTokens makes the token authenticators from the flags, in the order in which
// they are asked: token file, service accounts, OIDC, and last the webhook.
func (p *program) globalTokens(o *options, config *authn.Config, everyShard *rest.Config, idx *index.Index) error {
	a := &o.auth
	if a.tokenFile != "" {
		file, err := tokenfile.New(a.tokenFile, nil, p.log.WithName("token-file"))
		if err != nil {
			return err
		}
		p.follows("token-auth-file", file)
		config.Tokens = append(config.Tokens, file)
	}
	if a.serviceAccountsOn() {
		accounts, err := p.serviceAccounts(a, everyShard, idx)
		if err != nil {
			return err
		}
		config.Tokens = append(config.Tokens, accounts)
	}
	flags := a.oidc()
	if a.config != "" || flags.Set() {
		tokens, err := p.oidc(a, flags)
		if err != nil {
			return err
		}
		config.Tokens = append(config.Tokens, tokens)
	}
	if a.webhookConfig == "" {
		return nil
	}
	webhook, err := webhook.New(webhook.Config{ConfigFile: a.webhookConfig, Version: a.webhookVersion, TTL: a.webhookTTL, Audiences: a.webhookAudiences(), Log: p.log.WithName("webhook")})
	if err != nil {
		return err
	}
	p.followsKubeconfig("authentication-token-webhook-config-file", webhook.Kubeconfig())
	p.sources.Webhook = webhook.Status
	config.Webhook = webhook
	return nil
}

// oidc uses a separate pool of issuers: the operator's issuers may be at any address,
// including those that tenants' issuers must not use.
func (p *program) oidc(a *authOptions, flags oidc.Flags) (token.Authenticator, error) {
	pool := issuer.NewPool(operatorsIssuers(p.log))
	tokens, err := oidc.New(oidc.Config{
		Flags: flags, ConfigFile: a.config, DisallowedIssuers: a.disallowedIssuers(), Issuers: pool, Log: p.log.WithName("oidc"),
	})
	if err != nil {
		return nil, err
	}
	p.add(pool.Run)
	p.follows(tokens.Flag(), tokens)
	p.details.Issuers["global"] = pool.Status
	p.sources.Issuers["global"] = pool.Counts
	return tokens, nil
}

// operatorsIssuers configures issuers as kube-apiserver does: at any address, and
// through the proxies in HTTPS_PROXY and NO_PROXY.
func operatorsIssuers(log klog.Logger) issuer.Config {
	// Every caller may wait for them: the waiting requests are charged, not the
	// operator.
	return issuer.Config{Egress: egress.Unguarded(), Proxy: http.ProxyFromEnvironment, AnyRedirect: true, Log: log.WithName("issuers"), OwnersWaiters: math.MaxInt}
}

func (a *authOptions) oidc() oidc.Flags {
	return oidc.Flags{
		IssuerURL: a.oidcIssuer, ClientID: a.oidcClientID, CAFile: a.oidcCA, UsernameClaim: a.oidcUsernameClaim, UsernamePrefix: a.oidcUsernamePrefix,
		GroupsClaim: a.oidcGroupsClaim, GroupsPrefix: a.oidcGroupsPrefix, RequiredClaims: a.oidcRequiredClaims, SigningAlgs: a.oidcSigningAlgs,
	}
}

// disallowedIssuers are the issuers of service accounts: no OIDC issuer may assert
// those names.
func (a *authOptions) disallowedIssuers() []string { return a.serviceAccountIssuers }

// webhookAudiences are sent to the webhook in the cases in which kcp sends them: if
// service account keys are configured.
func (a *authOptions) webhookAudiences() []string {
	if !a.serviceAccountsOn() {
		return nil
	}
	if len(a.audiences) == 0 {
		return a.serviceAccountIssuers
	}
	return a.audiences
}
