package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

// TestWorkForATokenIsBounded: by the keys that are tried, whatever the set.
func TestWorkForATokenIsBounded(t *testing.T) {
	ofRSA := func(size, exponent int) any {
		n := new(big.Int).Lsh(big.NewInt(1), uint(size-1))
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: exponent}
	}
	ofEC := func(curve elliptic.Curve) any {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return &key.PublicKey
	}
	for _, tt := range []struct {
		name, algorithm string
		key             any
		tries           int
	}{
		{"RSA 2048", "RS256", ofRSA(2048, 65537), 16},
		{"RSA 4096", "PS512", ofRSA(4096, 65537), 16},
		{"RSA 8192", "RS256", ofRSA(8192, 65537), 2},
		{"RSA 8192, a large exponent", "RS256", ofRSA(8192, 1<<31-1), 1},
		{"P-256", "ES256", ofEC(elliptic.P256()), 16},
		{"P-521", "ES512", ofEC(elliptic.P521()), 8},
		{"of another algorithm", "ES256", ofRSA(2048, 65537), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := &keySet{byID: map[string][]*jose.JSONWebKey{}}
			for i := range MaxKeys {
				key := &jose.JSONWebKey{Key: tt.key, KeyID: fmt.Sprint(i % 50)}
				set.all = append(set.all, key)
				set.byID[key.KeyID] = append(set.byID[key.KeyID], key)
				set.byID["same"] = append(set.byID["same"], key)
			}
			got := []int{len(set.candidates("", tt.algorithm)), len(set.candidates("same", tt.algorithm)), len(set.candidates("7", tt.algorithm))}
			if diff := cmp.Diff([]int{tt.tries, tt.tries, min(2, tt.tries)}, got); diff != "" {
				t.Errorf("keys tried for a token without kid, of a kid that all have, of two (-want +got):\n%s", diff)
			}
		})
	}
}
