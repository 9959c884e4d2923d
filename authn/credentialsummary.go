package authn

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn/clientcert"
	"frontproxy/authn/identity"
	"frontproxy/authn/token"
	"frontproxy/internal/clip"
)

// CredentialSummary is what credential a request came with, as far as that can be known
// without trusting it. It never holds the credential.
type CredentialSummary struct {
	// Kind of the bearer token: "JWT", OpaqueKind or MalformedKind; empty when there is none.
	Kind string `json:"token,omitempty"`
	// Issuer is a JWT's unverified "iss".
	Issuer string `json:"issuer,omitempty"`
	// Certificate is the common name of the client certificate, and Serial its
	// number; empty when there is none.
	Certificate string `json:"certificate,omitempty"`
	Serial      string `json:"serial,omitempty"`

	// The rest is read from a JWT, unverified, and only by Explain.

	Algorithm string      `json:"algorithm,omitempty"`
	KeyID     string      `json:"keyID,omitempty"`
	Audiences []string    `json:"audiences,omitempty"`
	NotBefore metav1.Time `json:"notBefore,omitzero"`
	NotAfter  metav1.Time `json:"expires,omitzero"`
}

// The kinds of bearer tokens, in words.
const (
	jwtKind       = "JWT"
	OpaqueKind    = "opaque token"
	MalformedKind = "malformed"
)

// CredentialKind says what a request came with.
type CredentialKind uint8

// The kinds of credentials. A token counts before a client certificate.
const (
	NoCredential CredentialKind = iota
	TokenCredential
	CertificateOnly
	// MalformedCredential is one that cannot be read.
	MalformedCredential
)

func (p *CredentialSummary) kind() CredentialKind {
	switch {
	case p.Kind == MalformedKind:
		return MalformedCredential
	case p.Kind != "":
		return TokenCredential
	case p.Serial != "":
		return CertificateOnly
	}
	return NoCredential
}

// maxPresented bounds what is kept of a text that a client chose.
const maxPresented = 256

// certificate adds the client's own certificate, the first one.
func (p *CredentialSummary) certificate(chain []*x509.Certificate) {
	if len(chain) == 0 {
		return
	}
	c := chain[0]
	p.Certificate, p.Serial = clip.Clone(c.Subject.CommonName, maxPresented), clientcert.SerialNumber(c)
}

// presented returns the summary for a request that was admitted before.
func presented(r *Request) (p CredentialSummary) {
	p.certificate(r.Certificates)
	raw, err := bearer(r.Header)
	switch {
	case err != nil:
		p.Kind = MalformedKind
	case raw != "":
		t := token.Parse(raw)
		p.token(&t)
	}
	return p
}

// token adds what is known of a parsed Token.
func (p *CredentialSummary) token(t *token.Token) {
	p.Kind = OpaqueKind
	if t.JWT {
		p.Kind, p.Issuer = jwtKind, clip.Clone(t.Issuer, maxPresented)
	}
}

// details adds what must be decoded for it.
func (p *CredentialSummary) details(raw string) {
	if p.Kind != jwtKind {
		return
	}
	part, _, _ := strings.Cut(raw, ".")
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	if text, err := base64.RawURLEncoding.DecodeString(part); err == nil && json.Unmarshal(text, &header) == nil {
		p.Algorithm, p.KeyID = clip.Clone(header.Algorithm, maxPresented), clip.Clone(header.KeyID, maxPresented)
	}
	claims, err := token.ReadClaims(raw)
	if err != nil {
		return
	}
	for _, a := range claims.Audiences[:min(len(claims.Audiences), identity.MaxRemoved)] {
		p.Audiences = append(p.Audiences, clip.Clone(a, maxPresented))
	}
	p.NotBefore, p.NotAfter = metav1.NewTime(claims.NotBefore), metav1.NewTime(claims.Expiry)
}
