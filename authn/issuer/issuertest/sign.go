package issuertest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// SignOption changes how Sign makes a token.
type SignOption func(*signing)

type signing struct {
	alg      jose.SignatureAlgorithm
	kid      *string
	headers  map[jose.HeaderKey]any
	signer   *Issuer // whose key signs; nil means the issuer's own
	unsigned bool
	hmac     bool
	raw      []byte // the payload instead of claims
}

// Algorithm signs with the issuer's key for alg, which it makes and publishes
// at its first use.
func Algorithm(alg jose.SignatureAlgorithm) SignOption { return func(s *signing) { s.alg = alg } }

// KeyID puts kid into the header instead of the signing key's.
func KeyID(kid string) SignOption { return func(s *signing) { s.kid = &kid } }

// NoKeyID leaves the kid out.
func NoKeyID() SignOption { return KeyID("") }

// Header adds a header.
func Header(key string, value any) SignOption {
	return func(s *signing) { s.headers[jose.HeaderKey(key)] = value }
}

// KeyOf signs with another issuer's key, under the own key's kid.
func KeyOf(other *Issuer) SignOption { return func(s *signing) { s.signer = other } }

// Unsigned makes an "alg": "none" token.
func Unsigned() SignOption { return func(s *signing) { s.unsigned = true } }

// PublicKeyAsSecret signs with HS256 and the PEM of the public key as secret,
// under the public key's kid.
func PublicKeyAsSecret() SignOption { return func(s *signing) { s.hmac = true } }

// Payload signs these bytes instead of the claims.
func Payload(raw []byte) SignOption { return func(s *signing) { s.raw = raw } }

// Sign makes a token in compact form. Where claims lack them it adds iss, iat
// and exp (an hour from now); a claim that is nil is left out. It panics on
// claims that are no JSON or an algorithm it does not know.
func (s *Issuer) Sign(claims Claims, opts ...SignOption) string {
	how := signing{alg: s.opts.Algorithm, headers: map[jose.HeaderKey]any{}}
	for _, opt := range opts {
		opt(&how)
	}
	payload := how.raw
	if payload == nil {
		payload = must(json.Marshal(claims.withDefaults(s.URL(), time.Now())))
	}
	own := s.key(how.alg)
	kid := own.id
	if how.kid != nil {
		kid = *how.kid
	}
	switch {
	case how.unsigned:
		return unsigned(payload, kid)
	case how.hmac:
		der := must(x509.MarshalPKIXPublicKey(own.private.Public()))
		secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		return compact(jose.HS256, secret, kid, how.headers, payload)
	case how.signer != nil:
		own = how.signer.key(how.alg)
	}
	return compact(how.alg, own.private, kid, how.headers, payload)
}

func (s *Issuer) key(alg jose.SignatureAlgorithm) *signingKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return must(s.keys.signing(alg))
}

// Rotate makes a new signing key; the old ones are no longer published.
// It returns the new key's id.
func (s *Issuer) Rotate() string { return s.rotate(false) }

// RotateKeeping makes a new signing key and goes on publishing the old ones.
func (s *Issuer) RotateKeeping() string { return s.rotate(true) }

func (s *Issuer) rotate(keep bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return must(s.keys.rotate(s.opts.Algorithm, keep)).id
}

// AddKeys publishes these JSON values too, sound keys or not.
func (s *Issuer) AddKeys(raw ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range raw {
		s.keys.extra = append(s.keys.extra, json.RawMessage(r))
	}
}

// KeyID is the id of the current key for the issuer's own algorithm.
func (s *Issuer) KeyID() string { return s.key(s.opts.Algorithm).id }

func unsigned(payload []byte, kid string) string {
	header := must(json.Marshal(map[string]string{"alg": "none", "kid": kid}))
	return base64.RawURLEncoding.EncodeToString(header) + "." +
		base64.RawURLEncoding.EncodeToString(payload) + "."
}

func compact(alg jose.SignatureAlgorithm, key any, kid string, headers map[jose.HeaderKey]any, payload []byte) string {
	if kid != "" {
		headers["kid"] = kid
	}
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: headers}))
	return must(must(signer.Sign(payload)).CompactSerialize())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("issuertest: %v", err))
	}
	return v
}
