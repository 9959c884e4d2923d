package serviceaccount

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Keys are public keys that verify tokens. Safe for concurrent use.
type Keys interface {
	// Keys returns the keys with the id, or all for an empty id. Read-only.
	Keys(id string) []Key
	// Generation changes whenever the keys do.
	Generation() uint64
}

// Key is a public key for signatures.
type Key struct {
	// ID is derived from the key as Kubernetes does, or what a shard publishes it
	// with: an external signer (--service-account-signing-endpoint) names its own.
	ID string
	// Public is an *rsa.PublicKey or an *ecdsa.PublicKey.
	Public crypto.PublicKey
}

// algorithms are the ones that kcp signs with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

// algorithm returns the algorithm for which the key is used; "" if there is none.
func (k Key) algorithm() string {
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return string(jose.RS256)
	case *ecdsa.PublicKey:
		return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Params().BitSize]
	}
	return ""
}

// NewKey derives the id of a public key. It accepts RSA keys, and EC keys on P-256, P-384
// and P-521.
func NewKey(public crypto.PublicKey) (Key, error) {
	k := Key{Public: public}
	if k.algorithm() == "" {
		return Key{}, fmt.Errorf("a %T of this kind can't sign service account tokens; use RSA, or EC on P-256, P-384 or P-521", public)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	k.ID = base64.RawURLEncoding.EncodeToString(sum[:])
	return k, nil
}

// KeySet is a fixed set of keys.
type KeySet struct {
	all  []Key
	byID map[string][]Key
}

// NewKeySet returns a set of the keys, without duplicates.
func NewKeySet(keys ...Key) *KeySet {
	s := &KeySet{byID: make(map[string][]Key, len(keys))}
	for _, k := range keys {
		if !s.has(k) {
			s.all = append(s.all, k)
			s.byID[k.ID] = append(s.byID[k.ID], k)
		}
	}
	return s
}

// has reports whether the key is in the set by its id.
func (s *KeySet) has(k Key) bool {
	return slices.ContainsFunc(s.byID[k.ID], func(o Key) bool {
		public, ok := o.Public.(interface{ Equal(crypto.PublicKey) bool })
		return ok && public.Equal(k.Public)
	})
}

// equal reports whether two sets have the same keys by the same ids.
func (s *KeySet) equal(o *KeySet) bool {
	return len(s.all) == len(o.all) && !slices.ContainsFunc(s.all, func(k Key) bool { return !o.has(k) })
}

// Keys implements Keys.
func (s *KeySet) Keys(id string) []Key {
	if id == "" {
		return s.all
	}
	return s.byID[id]
}

// Generation implements Keys: a KeySet never changes.
func (s *KeySet) Generation() uint64 { return 1 }

// ParseKeys reads every key in PEM text: public keys, certificates, and private keys, of
// which it takes the public half. As in kcp, it skips other blocks (EC parameters, for
// example), and it is an error if there is no key at all.
func ParseKeys(text []byte) ([]Key, error) {
	var keys []Key
	var skipped error
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		public := publicKey(block.Bytes)
		if public == nil {
			continue
		}
		k, err := NewKey(public)
		if err != nil {
			skipped = err
			continue
		}
		keys = append(keys, k)
	}
	switch {
	case len(keys) > 0:
		return keys, nil
	case skipped != nil:
		return nil, skipped
	}
	return nil, errors.New("no PEM block is a public key, a certificate or an unencrypted private key")
}

// publicKey is nil when der holds no key.
func publicKey(der []byte) crypto.PublicKey {
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		return key
	}
	if cert, err := x509.ParseCertificate(der); err == nil {
		return cert.PublicKey
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key.Public()
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key.Public()
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if private, ok := key.(crypto.Signer); ok {
			return private.Public()
		}
	}
	return nil
}
