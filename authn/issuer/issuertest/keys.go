package issuertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// keyring has the keys an issuer signs with and those it publishes.
type keyring struct {
	serial  int
	current map[jose.SignatureAlgorithm]*signingKey
	old     []*signingKey // published, no longer signed with
	extra   []json.RawMessage
}

type signingKey struct {
	id      string
	alg     jose.SignatureAlgorithm
	private crypto.Signer
}

func newKeyring(alg jose.SignatureAlgorithm) (*keyring, error) {
	k := &keyring{current: map[jose.SignatureAlgorithm]*signingKey{}}
	_, err := k.signing(alg)
	return k, err
}

// signing is the current key for alg; it makes one at first.
func (k *keyring) signing(alg jose.SignatureAlgorithm) (*signingKey, error) {
	if key := k.current[alg]; key != nil {
		return key, nil
	}
	private, err := generate(alg)
	if err != nil {
		return nil, err
	}
	k.serial++
	key := &signingKey{id: fmt.Sprintf("%s-%d", alg, k.serial), alg: alg, private: private}
	k.current[alg] = key
	return key, nil
}

// rotate replaces the current key for alg; keep goes on publishing the old one.
func (k *keyring) rotate(alg jose.SignatureAlgorithm, keep bool) (*signingKey, error) {
	old := k.current[alg]
	delete(k.current, alg)
	if keep && old != nil {
		k.old = append(k.old, old)
	}
	if !keep {
		k.old = nil
	}
	return k.signing(alg)
}

// published are the entries of the served key set.
func (k *keyring) published() []any {
	keys := []any{}
	for _, key := range k.old {
		keys = append(keys, key.jwk())
	}
	for _, key := range k.current {
		keys = append(keys, key.jwk())
	}
	for _, raw := range k.extra {
		keys = append(keys, raw)
	}
	return keys
}

func (s *signingKey) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.private.Public(), KeyID: s.id, Algorithm: string(s.alg), Use: "sig"}
}

func generate(alg jose.SignatureAlgorithm) (crypto.Signer, error) {
	switch alg {
	case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512:
		return rsa.GenerateKey(rand.Reader, 2048)
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("issuertest: no keys for algorithm %q", alg)
}
