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
	if a.tokens.file != "" {
		file, err := tokenfile.New(a.tokens.file, nil, p.log.WithName("token-file"))
		if err != nil {
			return err
		}
		p.follows("token-auth-file", file)
		config.Tokens = append(config.Tokens, file)
	}
	if a.accounts.on() {
		accounts, err := p.serviceAccounts(a, everyShard, idx)
		if err != nil {
			return err
		}
		config.Tokens = append(config.Tokens, accounts)
	}
	if a.oidc.config != "" || a.oidc.issuer.Set() {
		tokens, err := p.oidc(a)
		if err != nil {
			return err
		}
		config.Tokens = append(config.Tokens, tokens)
	}
	if a.webhook.ConfigFile != "" {
		reviews, err := p.webhook(a)
		if err != nil {
			return err
		}
		config.Webhook = reviews
	}
	return nil
}

func (p *program) webhook(a *authOptions) (*webhook.Authenticator, error) {
	config := a.webhook
	config.Audiences, config.Log = a.webhookAudiences(), p.log.WithName("webhook")
	reviews, err := webhook.New(config)
	if err != nil {
		return nil, err
	}
	p.followsKubeconfig("authentication-token-webhook-config-file", reviews.Kubeconfig())
	p.sources.Webhook = reviews.Status
	return reviews, nil
}

// oidc uses a separate pool of issuers: the operator's issuers may be at any address,
// including those that tenants' issuers must not use.
func (p *program) oidc(a *authOptions) (token.Authenticator, error) {
	pool := issuer.NewPool(operatorsIssuers(p.log))
	tokens, err := oidc.New(oidc.Config{
		Flags: a.oidc.issuer, ConfigFile: a.oidc.config, DisallowedIssuers: a.disallowedIssuers(), Issuers: pool, Log: p.log.WithName("oidc"),
		Refused: p.metrics.OIDCTokenRefused,
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

// disallowedIssuers are the issuers of service accounts: no OIDC issuer may assert
// those names.
func (a *authOptions) disallowedIssuers() []string { return a.accounts.issuers }

// webhookAudiences are sent to the webhook in the cases in which kcp sends them: if
// service account keys are configured.
func (a *authOptions) webhookAudiences() []string {
	if !a.accounts.on() {
		return nil
	}
	if len(a.tokens.audiences) == 0 {
		return a.accounts.issuers
	}
	return a.tokens.audiences
}
