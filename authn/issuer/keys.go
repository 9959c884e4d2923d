package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	mathbits "math/bits"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"frontproxy/internal/clip"
	"frontproxy/internal/jwks"
)

// Bounds on key sets.
const (
	// MaxKeys is how many keys a key set may have.
	MaxKeys = 100
	// maxTries is how many keys are tried for a token that names none or one that
	// several have, and maxWork how much work that may be, in verifications with an
	// RSA key of 2048 bits: about 4 ms in all. Anybody may send such tokens.
	maxTries, maxWork = 16, 128
	// minRSABits is from RFC 7518, 3.3 and 3.5; maxRSABits bounds the work of a
	// verification.
	minRSABits, maxRSABits = 2048, 8192
)

// algorithms are those that apiserver's OIDC authenticator accepts.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512,
}

// keySet is one reading of an issuer's keys. Immutable.
type keySet struct {
	// generation counts the readings that differed from the one before.
	generation  uint64
	fingerprint [sha256.Size]byte
	byID        map[string][]*jose.JSONWebKey
	all         []*jose.JSONWebKey
	ids         []string
	since       map[string]time.Time // when each of ids was first read
	ignored     []string             // what was left out and why
	size        int                  // bytes of memory, an estimate that is not too low
}

// parseKeys reads a JWK set. Entries that can't be used are left out.
func parseKeys(body []byte) (*keySet, error) {
	entries, err := jwks.Parse(body, MaxKeys)
	if err != nil {
		return nil, err
	}
	set := &keySet{byID: map[string][]*jose.JSONWebKey{}}
	for i, entry := range entries {
		key := entry.Key
		err := entry.Err
		if err == nil {
			err = checkKey(key)
		}
		if err != nil {
			set.ignored = append(set.ignored, leftOut(i, entry.ID, err))
			set.size += keyBytes
			continue
		}
		set.add(key)
	}
	set.complete()
	return set, nil
}

// add adds a usable key to a set that is not complete.
func (s *keySet) add(key *jose.JSONWebKey) {
	s.size += keyBytes + len(key.KeyID) + len(key.Algorithm) + len(key.Use) + numbersOf(key)
	s.byID[key.KeyID] = append(s.byID[key.KeyID], key)
	s.all = append(s.all, key)
	s.ids = append(s.ids, clip.Clone(key.KeyID, 64))
}

// complete is called when all keys have been added.
func (s *keySet) complete() {
	slices.Sort(s.ids)
	s.fingerprint = fingerprint(s.all)
}

// stillIn returns the keys of s that a later set has, too.
func (s *keySet) stillIn(later *keySet) *keySet {
	left := &keySet{byID: map[string][]*jose.JSONWebKey{}}
	for _, key := range s.all {
		if slices.ContainsFunc(later.byID[key.KeyID], func(k *jose.JSONWebKey) bool { return sameKey(k, key) }) {
			left.add(key)
		}
	}
	left.complete()
	return left
}

// sameKey reports whether two usable keys with the same ID verify the same tokens.
func sameKey(a, b *jose.JSONWebKey) bool {
	public, ok := a.Key.(interface {
		Equal(key crypto.PublicKey) bool
	})
	return ok && a.Algorithm == b.Algorithm && public.Equal(b.Key)
}

// keyBytes is what a key takes besides its texts and numbers, and all that an ignored entry takes.
const keyBytes = 1 << 10

// numbersOf is how many bytes the numbers of a usable key take.
func numbersOf(key *jose.JSONWebKey) int {
	if public, ok := key.Key.(*rsa.PublicKey); ok {
		return public.N.BitLen() / 8
	}
	return 0 // in keyBytes
}

// remember notes since when each key is known: since the reading before, or since now.
func (s *keySet) remember(before *keySet, now time.Time) {
	s.since = make(map[string]time.Time, len(s.ids))
	for _, id := range s.ids {
		s.since[id] = now
		if before != nil && !before.since[id].IsZero() {
			s.since[id] = before.since[id]
		}
	}
}

// leftOut says which entry of a set is not used, and why.
func leftOut(n int, id string, err error) string {
	text := fmt.Sprintf("keys[%d]", n)
	if id != "" {
		text += fmt.Sprintf(" (kid %q)", clip.Clone(id, 64))
	}
	return text + ": " + clip.Clone(err.Error(), 200)
}

// checkKey says why a public key is not fit for signatures.
func checkKey(key *jose.JSONWebKey) error {
	if key.Use == "enc" { // any other value means nothing to us, nor to kube
		return errors.New(`is for encryption (use "enc")`)
	}
	if rsaKey, ok := key.Key.(*rsa.PublicKey); ok {
		if n := rsaKey.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("has %d bits, RSA keys need %d to %d", n, minRSABits, maxRSABits)
		}
	}
	if !slices.ContainsFunc(algorithms, func(alg jose.SignatureAlgorithm) bool { return fits(key, string(alg)) }) {
		return fmt.Errorf("fits no supported algorithm (alg %q, %T)", key.Algorithm, key.Key)
	}
	return nil
}

// fits reports whether key may verify signatures by alg.
func fits(key *jose.JSONWebKey, alg string) bool {
	if key.Algorithm != "" && key.Algorithm != alg {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return alg[0] == 'R' || alg[0] == 'P'
	case *ecdsa.PublicKey:
		return alg == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Params().BitSize]
	}
	return false
}

// fingerprint is equal for the same keys in any order.
func fingerprint(keys []*jose.JSONWebKey) [sha256.Size]byte {
	var parts [][]byte
	for _, key := range keys {
		// Strings and a public key that was just read: no error.
		part, _ := json.Marshal(key)
		parts = append(parts, part)
	}
	slices.SortFunc(parts, bytes.Compare)
	return sha256.Sum256(bytes.Join(parts, []byte{0}))
}

// errNoKey says that the set has no key for the token. It never leaves the
// package.
var errNoKey = errors.New("no key")

// verify checks the one signature of jws and returns the payload; errNoKey when
// another reading of the keys might help. A nil keySet has no keys.
func (s *keySet) verify(jws *jose.JSONWebSignature) ([]byte, error) {
	if s == nil {
		return nil, errNoKey
	}
	header := jws.Signatures[0].Protected
	named := header.KeyID != ""
	if named && len(s.byID[header.KeyID]) == 0 {
		return nil, errNoKey
	}
	candidates := s.candidates(header.KeyID, header.Algorithm)
	for _, key := range candidates {
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	switch {
	case !named:
		return nil, errNoKey
	case len(candidates) == 0:
		return nil, fmt.Errorf("key %q is not for algorithm %s", clip.Clone(header.KeyID, 64), header.Algorithm)
	}
	return nil, fmt.Errorf("signature does not verify with key %q", clip.Clone(header.KeyID, 64))
}

// candidates are the keys to try, in the order of the set, as far as the bounds
// on a token's work allow.
func (s *keySet) candidates(id, algorithm string) []*jose.JSONWebKey {
	from := s.all
	if id != "" {
		from = s.byID[id]
	}
	var keys []*jose.JSONWebKey
	work := 0
	for _, key := range from {
		if !fits(key, algorithm) {
			continue
		}
		if work += workOf(key); len(keys) == maxTries || work > maxWork && len(keys) > 0 {
			break
		}
		keys = append(keys, key)
	}
	return keys
}

// workOf is what a verification with key costs, in those with an RSA key of 2048
// bits and the usual exponent.
func workOf(key *jose.JSONWebKey) int {
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		size := (public.N.BitLen() + 2047) / 2048
		return size * size * size * ((mathbits.Len(uint(public.E)) + 16) / 17) //nolint:gosec // positive, or go-jose had refused it
	case *ecdsa.PublicKey:
		if public.Params().BitSize > 256 {
			return 16
		}
	}
	return 2
}
