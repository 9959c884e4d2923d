package issuer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"frontproxy/internal/login/tokencache"
	"frontproxy/internal/login/trust"
)

// ErrLoginNeeded is wrapped by errors of Refresh that only another login can fix: the
// issuer no longer accepts the refresh token.
var ErrLoginNeeded = errors.New("a new login is needed")

// timeout limits one request to an issuer.
const timeout = 30 * time.Second

// Issuer is an issuer whose discovery document was read. Not safe for concurrent use.
type Issuer struct {
	tuple    trust.Tuple
	client   *http.Client
	clock    *clock
	provider *oidc.Provider
	oauth    oauth2.Config
	device   string // the device authorization endpoint; empty: none
}

// Connect reads an issuer's discovery document. This is the first request to the
// issuer, so the user must have agreed to the tuple before. secret is the client's;
// empty means none.
func Connect(ctx context.Context, tuple trust.Tuple, secret string) (*Issuer, error) {
	i := &Issuer{tuple: tuple, clock: &clock{}}
	var err error
	if i.client, err = newClient(tuple.IssuerCA, i.clock); err != nil {
		return nil, err
	}
	ctx = i.context(ctx)
	if i.provider, err = oidc.NewProvider(ctx, tuple.Issuer); err != nil {
		return nil, i.failed("read the discovery document", err)
	}
	var endpoints struct {
		Device string `json:"device_authorization_endpoint"`
	}
	if err := i.provider.Claims(&endpoints); err != nil {
		return nil, i.failed("read the discovery document", err)
	}
	i.device = endpoints.Device
	i.oauth = oauth2.Config{ClientID: tuple.ClientID, ClientSecret: secret, Scopes: tuple.Scopes, Endpoint: i.provider.Endpoint()}
	for _, endpoint := range []string{i.oauth.Endpoint.AuthURL, i.oauth.Endpoint.TokenURL, i.device} {
		if endpoint != "" && !strings.HasPrefix(endpoint, "https://") {
			return nil, fmt.Errorf("the issuer %s publishes %q, which is not an https URL: tell its operator", tuple.Issuer, Printable(endpoint))
		}
	}
	return i, nil
}

// HasDevice reports whether the issuer supports the device flow.
func (i *Issuer) HasDevice() bool { return i.device != "" }

// Refresh renews tokens. After an error the old tokens are as valid as before, unless
// the error wraps ErrLoginNeeded.
func (i *Issuer) Refresh(ctx context.Context, old *tokencache.Tokens) (*tokencache.Tokens, error) {
	ctx = i.context(ctx)
	token, err := i.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: old.RefreshToken, Expiry: time.Unix(1, 0)}).Token()
	if err != nil {
		err = i.failed("renew the login", err)
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500 && refused.Response.StatusCode != http.StatusTooManyRequests {
			err = fmt.Errorf("%w: %w", ErrLoginNeeded, err)
		}
		return nil, err
	}
	if _, ok := token.Extra("id_token").(string); !ok {
		return nil, fmt.Errorf("%w: the issuer %s renews access tokens, but no ID tokens", ErrLoginNeeded, i.tuple.Issuer)
	}
	tokens, err := i.accept(ctx, token, "")
	if err != nil {
		return nil, err
	}
	if old.Subject != "" && tokens.Subject != old.Subject {
		return nil, fmt.Errorf("%w: the issuer %s renewed the login for a different user", ErrLoginNeeded, i.tuple.Issuer)
	}
	if tokens.RefreshToken == "" {
		tokens.RefreshToken = old.RefreshToken
	}
	return tokens, nil
}

// accept verifies the response of a token endpoint; nonce is empty if there is none.
func (i *Issuer) accept(ctx context.Context, token *oauth2.Token, nonce string) (*tokencache.Tokens, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, fmt.Errorf("the issuer %s gave no ID token: is openid among the client's scopes there?", i.tuple.Issuer)
	}
	verifier := i.provider.VerifierContext(ctx, &oidc.Config{ClientID: i.tuple.ClientID, Now: i.clock.now})
	id, err := verifier.Verify(ctx, raw)
	if err != nil {
		return nil, i.failed("verify its ID token", err)
	}
	if nonce != "" && id.Nonce != nonce {
		return nil, fmt.Errorf("the issuer %s gave an ID token of another login", i.tuple.Issuer)
	}
	return &tokencache.Tokens{IDToken: raw, RefreshToken: token.RefreshToken, Subject: id.Subject, Expiry: i.clock.local(id.Expiry)}, nil
}

// failed adds the issuer and the action to an error.
func (i *Issuer) failed(doing string, err error) error {
	var unknown x509.UnknownAuthorityError
	var answer *oauth2.RetrieveError
	switch {
	case errors.As(err, &unknown) && i.tuple.IssuerCA == "":
		return fmt.Errorf("the issuer %s has a certificate of a CA that this machine does not trust; the administrators of the workspace can publish the CA with the issuer: %w", i.tuple.Issuer, err)
	case errors.As(err, &answer) && answer.ErrorCode != "":
		return refusal{i.tuple.Issuer, doing, answer.ErrorCode, answer.ErrorDescription, err}
	}
	return fmt.Errorf("could not %s at the issuer %s: %w", doing, i.tuple.Issuer, err)
}

// refusal is an error response of an issuer.
type refusal struct {
	issuer, doing, code, description string
	cause                            error
}

// Error returns the issuer's error and advice.
func (r refusal) Error() string {
	text := fmt.Sprintf("could not %s: the issuer %s says %s", r.doing, r.issuer, Printable(r.code))
	if r.description != "" {
		text += " (" + Printable(r.description) + ")"
	}
	if hint := hints[r.code]; hint != "" {
		text += "; " + hint
	}
	return text
}

// Unwrap returns the cause, which may contain a response's body: do not show it.
func (r refusal) Unwrap() error { return r.cause }

// hints are advice for error codes (RFC 6749, RFC 8628).
var hints = map[string]string{
	"access_denied":       "you, or a rule there, said no",
	"expired_token":       "the code was not used in time: log in again",
	"invalid_grant":       "log in again",
	"invalid_client":      "the client is not known there, or needs a secret: tell the owners of the workspace",
	"unauthorized_client": "the client may not log in this way there: tell the owners of the workspace",
	"invalid_scope":       "the client may not ask for these scopes there: tell the owners of the workspace",
}

// Printable makes untrusted text fit for a terminal: short, and without control or
// formatting characters.
func Printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 300 {
		return string(runes[:300]) + "…"
	}
	return s
}

func (i *Issuer) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, i.client) // oauth2 uses it, too
}

func newClient(ca string, c *clock) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("the issuer's CA bundle has no certificate")
		}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
	}
	return &http.Client{Transport: &guarded{next: transport, clock: c}, Timeout: timeout}, nil
}
