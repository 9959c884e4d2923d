package protectedresource

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// Limits of a Client.
const (
	// MaxURLBytes limits an issuer's URL, MaxCABytes its CA bundle.
	MaxURLBytes = 1 << 10
	MaxCABytes  = 32 << 10
	// MaxNameRunes limits a name, MaxIDBytes a client ID and a client secret.
	MaxNameRunes = 64
	MaxIDBytes   = 256
	// MaxScopes limits the number of scopes, MaxScopeBytes the length of each.
	MaxScopes     = 32
	MaxScopeBytes = 256
)

// OpenID is the scope without which an issuer issues no ID token.
const OpenID = "openid"

// Client has what a program needs to log a user in at an issuer and get an ID token
// that the resource accepts.
type Client struct {
	// Issuer is the issuer's URL, as in the tokens' claim iss.
	Issuer string `json:"issuer"`
	// Name is shown to users who have a choice; empty means the issuer's URL.
	Name string `json:"name,omitempty"`
	// ClientID is the OAuth client, which is also the audience of its ID tokens.
	ClientID string `json:"client_id"`
	// ClientSecret is for issuers that give a secret even to programs that cannot
	// keep it. It is public here. Empty: a public client.
	ClientSecret string `json:"client_secret,omitempty"`
	// Scopes are the scopes to request, including openid.
	Scopes []string `json:"scopes"`
	// CertificateAuthority is a PEM bundle that verifies the issuer; empty means the
	// system's CAs.
	CertificateAuthority string `json:"certificate_authority,omitempty"`
}

// Validate returns what is wrong, or nil. The rules ensure that neither programs (RFC
// 6749's grammars) nor people (no control or formatting characters, no look-alike
// letters in a host) can read a Client in two ways.
func (c *Client) Validate() error {
	if err := ValidIssuer(c.Issuer); err != nil {
		return err
	}
	if n := len([]rune(c.Name)); n > MaxNameRunes {
		return fmt.Errorf("the name has %d characters, at most %d are allowed", n, MaxNameRunes)
	}
	if strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.TrimSpace(c.Name) != c.Name {
		return errors.New("the name has invisible characters")
	}
	if c.ClientID == "" {
		return errors.New("the client id is empty")
	}
	if err := visible("client id", c.ClientID); err != nil {
		return err
	}
	if err := visible("client secret", c.ClientSecret); err != nil {
		return err
	}
	if err := validScopes(c.Scopes); err != nil {
		return err
	}
	return validCA(c.CertificateAuthority)
}

// ValidIssuer returns what is wrong with an issuer's URL, or nil.
func ValidIssuer(text string) error {
	if len(text) > MaxURLBytes {
		return fmt.Errorf("the issuer's URL has %d bytes, at most %d are allowed", len(text), MaxURLBytes)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		return errors.New("the issuer must be an https URL with a host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return errors.New("the issuer's URL cannot have a user, query or fragment")
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("the issuer's URL must be of visible ASCII characters; write an international host name in its xn-- form")
	}
	return nil
}

// visible requires text to be VSCHAR (RFC 6749 appendix A), without spaces at its
// ends.
func visible(what, text string) error {
	if len(text) > MaxIDBytes {
		return fmt.Errorf("the %s has %d bytes, at most %d are allowed", what, len(text), MaxIDBytes)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(text) != text {
		return fmt.Errorf("the %s must be of visible ASCII characters", what)
	}
	return nil
}

// validScopes requires scopes to be scope-tokens (RFC 6749 appendix A.4).
func validScopes(scopes []string) error {
	if len(scopes) > MaxScopes {
		return fmt.Errorf("there are %d scopes, at most %d are allowed", len(scopes), MaxScopes)
	}
	for _, s := range scopes {
		if s == "" || len(s) > MaxScopeBytes || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			return fmt.Errorf("a scope is empty, has more than %d bytes, or has characters that no scope can have", MaxScopeBytes)
		}
	}
	if !slices.Contains(scopes, OpenID) {
		return fmt.Errorf("the scope %s is missing: without it an issuer issues no ID token", OpenID)
	}
	return nil
}

func validCA(bundle string) error {
	if bundle == "" {
		return nil
	}
	if len(bundle) > MaxCABytes {
		return fmt.Errorf("the issuer's CA bundle has %d bytes, at most %d are allowed", len(bundle), MaxCABytes)
	}
	block, _ := pem.Decode([]byte(bundle))
	if block == nil || block.Type != "CERTIFICATE" {
		return errors.New("the issuer's CA bundle has no PEM certificate")
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return fmt.Errorf("the issuer's CA bundle: %w", err)
	}
	return nil
}
