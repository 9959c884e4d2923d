package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	kubeoidc "github.com/coreos/go-oidc"
	"github.com/go-jose/go-jose/v4"

	"frontproxy/authn/internal/authntest"
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
			kubes := authntest.KubeVerifies(t, body, token)
			want := authntest.AsKube(t, kubes == nil, tc.ours, tc.why)
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
	body = authntest.KeySet(t, jwk, edit, others)
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
	s := issuertest.Serve(t, issuertest.Options{})
	for path, media := range map[string]string{issuertest.DiscoveryPath: "application/json", issuertest.KeysPath: "application/jwk-set+json"} {
		recorder := httptest.NewRecorder()
		s.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		s.Handle(path, negotiating(media, recorder.Body.String()))
	}
	i := acquire(t, running(t, Config{}), refOf(s))
	if err := verify(i, s.Sign(nil)); err != nil {
		t.Fatal(err)
	}
}

// TestDiscoveryDocumentsAreReadAsKubeReadsThem: an issuer whose tokens kube verifies
// by its discovery document we verify by it too, but for the differences noted here.
// kube's OIDC authenticator reads with go-oidc v2, and names the algorithms itself.
func TestDiscoveryDocumentsAreReadAsKubeReadsThem(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	plain := httptest.NewServer(http.HandlerFunc(s.ServeHTTP))
	defer plain.Close()
	elsewhere := issuertest.Serve(t, issuertest.Options{})
	elsewhere.Handle("/k", s.ServeHTTP)
	keysAt := func(location string) string {
		return `{"issuer":"` + s.URL() + `","jwks_uri":"` + location + `"}`
	}
	with := func(more string) string {
		return `{"issuer":"` + s.URL() + `","jwks_uri":"` + s.KeysURL() + `",` + more + `}`
	}
	for _, tc := range []struct {
		name  string
		code  int    // 0 means 200
		media string // "" means JSON, "-" none
		text  string
		// ours is whether we verify where kube does otherwise, and why says why.
		ours bool
		why  string
	}{
		{name: "plain", text: keysAt(s.KeysURL())},
		{name: "no media type", media: "-", text: keysAt(s.KeysURL())},
		{name: "media type of text", media: "text/plain", text: keysAt(s.KeysURL())},
		{name: "HTML", media: "text/html", text: "<html>"},
		{name: "nothing", text: ""},
		{name: "null", text: "null"},
		{name: "a list", text: "[]"},
		{name: "something behind it", text: keysAt(s.KeysURL()) + "{}"},
		{name: "white space around it", text: "\n " + keysAt(s.KeysURL()) + " \n"},
		{name: "a byte order mark", text: "\ufeff" + keysAt(s.KeysURL())},
		{name: "201", code: http.StatusCreated, text: keysAt(s.KeysURL())},
		{name: "404", code: http.StatusNotFound, text: keysAt(s.KeysURL())},
		{name: "503", code: http.StatusServiceUnavailable, text: keysAt(s.KeysURL())},
		{name: "another issuer", text: `{"issuer":"https://x.test","jwks_uri":"` + s.KeysURL() + `"}`},
		{name: "issuer with a slash", text: `{"issuer":"` + s.URL() + `/","jwks_uri":"` + s.KeysURL() + `"}`},
		{name: "issuer in upper case", text: `{"issuer":"` + strings.ToUpper(s.URL()) + `","jwks_uri":"` + s.KeysURL() + `"}`},
		{name: "no issuer", text: `{"jwks_uri":"` + s.KeysURL() + `"}`},
		{name: "issuer that is no text", text: `{"issuer":7,"jwks_uri":"` + s.KeysURL() + `"}`},
		{name: "members in another case", text: `{"Issuer":"` + s.URL() + `","JWKS_URI":"` + s.KeysURL() + `"}`},
		{name: "issuer twice, the second good", text: `{"issuer":"https://x.test","issuer":"` + s.URL() + `","jwks_uri":"` + s.KeysURL() + `"}`},
		{name: "issuer twice, the first good", text: `{"issuer":"` + s.URL() + `","jwks_uri":"` + s.KeysURL() + `","issuer":"https://x.test"}`},
		{name: "no keys", text: `{"issuer":"` + s.URL() + `"}`},
		{name: "keys nowhere", text: keysAt("")},
		{name: "keys at a path", text: keysAt(issuertest.KeysPath)},
		{name: "keys at a URL that is none", text: keysAt("https://%")},
		{name: "keys with a query", text: keysAt(s.KeysURL() + "?v=1")},
		{name: "keys with a fragment", text: keysAt(s.KeysURL() + "#x")},
		{name: "keys in upper case", text: keysAt("HTTPS" + strings.TrimPrefix(s.KeysURL(), "https"))},
		{name: "keys with credentials", text: keysAt("https://u:p@" + strings.TrimPrefix(s.KeysURL(), "https://")), why: "credentials would be in a document that everybody can read, and in our log"},
		{name: "keys at a plain http URL", text: keysAt(plain.URL + issuertest.KeysPath), why: "whoever is on the way could put keys there"},
		{name: "keys of another server", text: keysAt(elsewhere.KeysURL())},
		{name: "algorithms", text: with(`"id_token_signing_alg_values_supported":["ES256"]`)},
		{name: "algorithms that are not the token's", text: with(`"id_token_signing_alg_values_supported":["RS256"]`)},
		{name: "algorithms that nobody knows", text: with(`"id_token_signing_alg_values_supported":["X"]`)},
		{name: "algorithms that are no list", text: with(`"id_token_signing_alg_values_supported":"ES256"`), ours: true, why: "what is not used is not judged"},
		{name: "an endpoint that is no text", text: with(`"authorization_endpoint":7`), ours: true, why: "what is not used is not judged"},
		{name: "an endpoint that is null", text: with(`"token_endpoint":null`)},
		{name: "members nobody knows", text: with(`"x":{"y":[1]}`)},
		{name: "as large as it may be", text: with(`"x":"` + strings.Repeat("x", MaxBody-300) + `"`)},
		{name: "larger", text: with(`"x":"` + strings.Repeat("x", MaxBody) + `"`), why: "memory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.Handle(issuertest.DiscoveryPath, func(w http.ResponseWriter, _ *http.Request) {
				authntest.Answer(w, tc.code, tc.media, tc.text)
			})
			token := s.Sign(nil)
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(s.CAPEM() + elsewhere.CAPEM()))
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
			ctx := kubeoidc.ClientContext(t.Context(), client)
			provider, kubes := kubeoidc.NewProvider(ctx, s.URL())
			if kubes == nil {
				_, kubes = provider.Verifier(&kubeoidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: []string{"RS256", "ES256"}}).Verify(ctx, token)
			}
			want := authntest.AsKube(t, kubes == nil, tc.ours, tc.why)
			i := acquire(t, running(t, Config{}), IssuerRef{URL: s.URL(), CA: s.CAPEM() + elsewhere.CAPEM()})
			if err := verify(i, token); (err == nil) != want {
				t.Errorf("we say %v, want success %t; kube says %v", err, want, kubes)
			}
		})
	}
}
