package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"frontproxy/authn/issuer/issuertest"
)

// TestKeySetsAreReadAsKubeReadsThem: a token that kube verifies with a key set we
// verify too, but for the differences noted here. kube reads with go-oidc.
func TestKeySetsAreReadAsKubeReadsThem(t *testing.T) {
	key := rsaKey(t, 2048)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := selfSigned(t, key)
	negative := base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(certificate), "\x02\x01\x7f", "\x02\x01\xff", 1)))
	if _, err := x509.ParseCertificate(must(base64.StdEncoding.DecodeString(negative))); err == nil {
		t.Fatal("a certificate with a negative serial number is taken: the test tests nothing")
	}
	sound := base64.StdEncoding.EncodeToString(certificate)
	other := base64.StdEncoding.EncodeToString(selfSigned(t, rsaKey(t, 2048)))
	for _, tc := range []struct {
		name   string
		key    any    // nil means the RSA key of 2048 bits
		edit   string // members that take the place of the key's, as JSON
		others string // entries before it
		alg    jose.SignatureAlgorithm
		kid    string // the token's; "" means the key's, "-" none
		// ours is whether we verify where kube does otherwise, and why says why.
		ours bool
		why  string
	}{
		{name: "plain"},
		{name: "EC", key: ec, alg: jose.ES256},
		{name: "no kid in the token", kid: "-"},
		{name: "another kid", kid: "other"},
		{name: "use sig", edit: `{"use":"sig"}`},
		{name: "use enc", edit: `{"use":"enc"}`, why: "RFC 7517, 4.2: the key is not for signatures"},
		{name: "another use", edit: `{"use":"signing"}`},
		{name: "alg", edit: `{"alg":"RS256"}`},
		{name: "alg of another signature", edit: `{"alg":"RS512"}`, why: "RFC 7517, 4.4: the key is for that algorithm"},
		{name: "alg of encryption", edit: `{"alg":"RSA-OAEP"}`},
		{name: "alg null", edit: `{"alg":null}`},
		{name: "key_ops", edit: `{"key_ops":["verify"]}`},
		{name: "key_ops of another type", edit: `{"key_ops":7}`},
		{name: "unknown members", edit: `{"nbf":1,"exp":"x","x-vendor":{"a":[1]}}`},
		{name: "x5c", edit: `{"x5c":["` + sound + `"]}`},
		{name: "x5c with a negative serial number", edit: `{"x5c":["` + negative + `"]}`, ours: true, why: "what is not used is not judged"},
		{name: "x5c of another key", edit: `{"x5c":["` + other + `"]}`, ours: true, why: "what is not used is not judged"},
		{name: "x5c that is no list", edit: `{"x5c":"x"}`, ours: true, why: "what is not used is not judged"},
		{name: "x5t of another length", edit: `{"x5t":"AAAA"}`, ours: true, why: "what is not used is not judged"},
		{name: "x5t#S256 that is no base64", edit: `{"x5t#S256":"!"}`, ours: true, why: "what is not used is not judged"},
		{name: "x5u that is no URL", edit: `{"x5u":"%"}`, ours: true, why: "what is not used is not judged"},
		{name: "private", edit: `{"d":"AQAB"}`},
		{name: "no modulus", edit: `{"n":null}`},
		{name: "no type", edit: `{"kty":null}`},
		{name: "kid that is no text", edit: `{"kid":7}`},
		{name: "RSA of 1024 bits", key: rsaKey(t, 1024), why: "RFC 7518, 3.3: 2048 bits or more"},
		{name: "beside an unknown type", others: `{"kty":"OKP","crv":"Ed448","x":"AA"}`},
		{name: "beside a curve nobody knows", others: `{"kty":"EC","crv":"secp256k1","alg":"ES256K","x":"AA","y":"AA"}`},
		{name: "beside a broken key", others: `{"kty":"RSA","n":7}`, ours: true, why: "the other keys of the set count"},
		{name: "beside no key", others: `"x"`, ours: true, why: "the other keys of the set count"},
		{name: "beside null", others: `null`, ours: true, why: "the other keys of the set count"},
		{name: "beside a secret", others: `{"kty":"oct","k":"AAAA"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			signer := any(key)
			if tc.key != nil {
				signer = tc.key
			}
			body, token := keySetOf(t, signer, tc.edit, tc.others, tc.alg, tc.kid)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
			defer s.Close()
			_, kubes := oidc.NewRemoteKeySet(context.Background(), s.URL).VerifySignature(context.Background(), token)
			want := kubes == nil
			if tc.why != "" {
				if want == tc.ours {
					t.Errorf("no difference to kube any more (%v), and the table says one: %s", kubes, tc.why)
				}
				want = tc.ours
			}
			jws, err := jose.ParseSignedCompact(token, algorithms)
			if err != nil {
				t.Fatal(err)
			}
			set, err := parseKeys(body)
			if err == nil {
				_, err = set.verify(jws)
			}
			if (err == nil) != want {
				t.Errorf("we say %v, want success %t; kube says %v; left out: %v", err, want, kubes, set)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func selfSigned(t *testing.T, key *rsa.PrivateKey) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(0x7f)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// keySetOf makes a key set with the signer's key among others, and a token.
func keySetOf(t *testing.T, signer any, edit, others string, alg jose.SignatureAlgorithm, kid string) (body []byte, token string) {
	t.Helper()
	if alg == "" {
		alg = jose.RS256
	}
	jwk := jose.JSONWebKey{Key: signer, KeyID: "key"}
	members := map[string]any{}
	for _, text := range [][]byte{must(json.Marshal(jwk.Public())), []byte(edit)} {
		if len(text) > 0 {
			if err := json.Unmarshal(text, &members); err != nil {
				t.Fatal(err)
			}
		}
	}
	if others != "" {
		others += ","
	}
	body = []byte(`{"keys":[` + others + string(must(json.Marshal(members))) + `]}`)
	switch kid {
	case "-":
		jwk.KeyID = ""
	case "":
	default:
		jwk.KeyID = kid
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jwk}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign([]byte(`{"sub":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	return body, must(signed.CompactSerialize())
}

// negotiating answers as kube-apiserver does: 406 to who does not take the one
// type that it has.
func negotiating(media, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, header := range r.Header.Values("Accept") {
			for part := range strings.SplitSeq(header, ",") {
				if taken, _, _ := strings.Cut(strings.TrimSpace(part), ";"); taken == media {
					w.Header().Set("Content-Type", media)
					_, _ = w.Write([]byte(text))
					return
				}
			}
		}
		http.Error(w, "406: Not Acceptable", http.StatusNotAcceptable)
	}
}

// TestClusterAsIssuer: a Kubernetes or kcp cluster has its key set as
// application/jwk-set+json and nothing else.
func TestClusterAsIssuer(t *testing.T) {
	s := serve(t, issuertest.Options{})
	for path, media := range map[string]string{issuertest.DiscoveryPath: "application/json", issuertest.KeysPath: "application/jwk-set+json"} {
		recorder := httptest.NewRecorder()
		s.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		s.Handle(path, negotiating(media, recorder.Body.String()))
	}
	i := acquire(t, running(t, Config{}), trustOf(s))
	if err := verify(i, s.Sign(nil)); err != nil {
		t.Fatal(err)
	}
}
