package serviceaccount

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// TestShardKeySetsAreReadAsKubeReadsThem: a token that go-oidc, which kube reads key
// sets with, verifies with a shard's key set we verify too, but for the differences
// noted here.
func TestShardKeySetsAreReadAsKubeReadsThem(t *testing.T) {
	for _, tc := range []struct {
		name   string
		key    crypto.Signer // nil means an RSA key of 2048 bits
		id     string        // in the set; "" means as kube derives it
		edit   string        // members that take the place of the key's, as JSON
		others string        // entries before it
		kid    string        // the token's; "" means the key's, "-" none
		// ours is whether we verify where kube does otherwise, and why says why.
		ours bool
		why  string
	}{
		{name: "kube's own"},
		{name: "EC, P-256", key: p256()},
		{name: "EC, P-384", key: p384()},
		{name: "EC, P-521", key: p521()},
		{name: "id of an external signer", id: "2026-01"},
		{name: "no kid in the token", kid: "-"},
		{name: "another kid", kid: "other"},
		{name: "no kid in the set, kube's in the token", edit: `{"kid":null}`, ours: true, why: "the id is known without it"},
		{name: "kid that is no text", edit: `{"kid":7}`},
		{name: "two keys of one id", id: "one", others: string(must(json.Marshal(jose.JSONWebKey{Key: otherRSA().Public(), KeyID: "one"})))},
		{name: "use enc", edit: `{"use":"enc"}`},
		{name: "alg of another signature", edit: `{"alg":"RS512"}`},
		{name: "alg null", edit: `{"alg":null}`},
		{name: "unknown members", edit: `{"nbf":1,"x-vendor":{"a":[1]}}`},
		{name: "x5c that is no list", edit: `{"x5c":"x"}`, ours: true, why: "what is not used is not judged"},
		{name: "private", edit: `{"d":"AQAB"}`},
		{name: "no modulus", edit: `{"n":null}`},
		{name: "no type", edit: `{"kty":null}`},
		{name: "RSA of 1024 bits", key: must(rsa.GenerateKey(rand.Reader, 1024))},
		{name: "beside an unknown type", others: `{"kty":"OKP","crv":"Ed448","x":"AA"}`},
		{name: "beside a broken key", others: `{"kty":"RSA","n":7}`, ours: true, why: "the other keys of the set count"},
		{name: "beside null", others: `null`, ours: true, why: "the other keys of the set count"},
		{name: "beside a secret", others: `{"kty":"oct","k":"AAAA"}`},
		{name: "beside as many as there may be", others: strings.TrimSuffix(strings.Repeat(`{"kty":"x"},`, maxShardKeys-1), ",")},
		{name: "beside more than there may be", others: strings.TrimSuffix(strings.Repeat(`{"kty":"x"},`, maxShardKeys), ","), why: "each token without a kid is tried with all"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			signer := crypto.Signer(rsaKey())
			if tc.key != nil {
				signer = tc.key
			}
			id := tc.id
			if id == "" {
				id = testKey(signer).ID
			}
			set := publishedSet(t, signer, id, tc.edit, tc.others)
			kid := id
			switch tc.kid {
			case "-":
				kid = ""
			case "":
			default:
				kid = tc.kid
			}
			raw := sign(t, signer, jose.SignatureAlgorithm(testKey(signer).algorithm()), kid, must(json.Marshal(bound())))
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
			defer s.Close()
			_, kubes := oidc.NewRemoteKeySet(context.Background(), s.URL).VerifySignature(context.Background(), raw)
			want := kubes == nil
			if tc.why != "" {
				if want == tc.ours {
					t.Errorf("no difference to kube any more (%v), and the table says one: %s", kubes, tc.why)
				}
				want = tc.ours
			}
			w, a, _ := newKeyWorld(t, nil)
			w.holder[testHome] = "a"
			a.set(keysPath, body(http.StatusOK, string(set)))
			w.read()
			if err := w.ask(raw); (err == nil) != want {
				t.Errorf("we say %v, want success %t; kube says %v", err, want, kubes)
			}
		})
	}
}

// publishedSet has the signer's key, with the id, behind the others.
func publishedSet(t *testing.T, signer crypto.Signer, id, edit, others string) []byte {
	t.Helper()
	members := map[string]any{}
	for _, text := range [][]byte{must(json.Marshal(jose.JSONWebKey{Key: signer.Public(), KeyID: id, Use: "sig"})), []byte(edit)} {
		if len(text) > 0 {
			if err := json.Unmarshal(text, &members); err != nil {
				t.Fatal(err)
			}
		}
	}
	if others != "" {
		others += ","
	}
	return []byte(`{"keys":[` + others + string(must(json.Marshal(members))) + `]}`)
}
