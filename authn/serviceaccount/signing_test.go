package serviceaccount

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	testIssuer = "https://kcp.default.svc"
	testHome   = "2k9vh1uvp0blqs1f"
	accountUID = "6f8ad5a1-6a3d-4d7c-9a55-0d2a3cf9b0d1"
	secretUID  = "0d5d8f0e-1a70-49a0-8a61-6a52a7c3bb11"
)

var testNow = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

// Keys are costly to make: each kind once.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	p256     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	p521     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)) })
	p224     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func testKey(private crypto.Signer) Key { return must(NewKey(private.Public())) }

// sign makes a token; kid "" means none, "own" the key's.
func sign(t testing.TB, private crypto.Signer, alg jose.SignatureAlgorithm, kid string, payload []byte) string {
	t.Helper()
	if kid == "own" {
		kid = testKey(private).ID
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: private, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	return must(jws.CompactSerialize())
}

type object = map[string]any

// bound has the claims that kcp v0.31.2 puts into a token by TokenRequest.
func bound() object {
	return object{
		"iss": testIssuer,
		"sub": "system:serviceaccount:default:bot",
		"aud": []string{testIssuer},
		"exp": testNow.Add(time.Hour).Unix(),
		"iat": testNow.Unix(),
		"nbf": testNow.Unix(),
		"jti": "d0c3e25e-7d30-4a2e-8a4c-cd2a0df9e0c6",
		"kubernetes.io": object{
			"clusterName":    testHome,
			"namespace":      "default",
			"serviceaccount": object{"name": "bot", "uid": accountUID},
		},
	}
}

// legacy has the claims of a token in a Secret.
func legacy() object {
	return object{
		"iss":                                    "kubernetes/serviceaccount",
		"sub":                                    "system:serviceaccount:default:bot",
		"kubernetes.io/serviceaccount/namespace": "default",
		"kubernetes.io/serviceaccount/secret.name":          "bot-token",
		"kubernetes.io/serviceaccount/service-account.name": "bot",
		"kubernetes.io/serviceaccount/service-account.uid":  accountUID,
		"kubernetes.io/serviceaccount/clusterName":          testHome,
	}
}

// with returns claims with some set to other values; nil removes.
func with(claims object, changes object) object {
	claims = maps.Clone(claims)
	for k, v := range changes {
		if v == nil {
			delete(claims, k)
		} else {
			claims[k] = v
		}
	}
	return claims
}

// withKube changes the claim kubernetes.io.
func withKube(changes object) object {
	claims := bound()
	claims["kubernetes.io"] = with(claims["kubernetes.io"].(object), changes)
	return claims
}

func tokenOf(t testing.TB, claims object) string {
	t.Helper()
	return sign(t, rsaKey(), jose.RS256, "own", must(json.Marshal(claims)))
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func publicPEM(private crypto.Signer) []byte {
	return pemBlock("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(private.Public())))
}

func certificatePEM(private crypto.Signer) []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sa"}, NotAfter: testNow.AddDate(1, 0, 0)}
	return pemBlock("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)))
}
