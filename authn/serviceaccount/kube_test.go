package serviceaccount

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"frontproxy/authn/internal/authntest"

	"github.com/go-jose/go-jose/v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
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
			set := authntest.KeySet(t, jose.JSONWebKey{Key: signer.Public(), KeyID: id, Use: "sig"}, tc.edit, tc.others)
			kid := id
			switch tc.kid {
			case "-":
				kid = ""
			case "":
			default:
				kid = tc.kid
			}
			raw := sign(t, signer, jose.SignatureAlgorithm(testKey(signer).algorithm()), kid, must(json.Marshal(bound())))
			kubes := authntest.KubeVerifies(t, set, raw)
			want := authntest.AsKube(t, kubes == nil, tc.ours, tc.why)
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

// TestShardsAnswersAreReadAsKubeReadsThem: what client-go makes of an answer about an
// account we make of it too, but for the differences noted here.
func TestShardsAnswersAreReadAsKubeReadsThem(t *testing.T) {
	const good = `{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"name":"bot","uid":"u"}}`
	notFound := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`
	for _, tc := range []struct {
		name  string
		code  int    // 0 means 200
		media string // "" means JSON
		text  string
		// ours is what we say where client-go says otherwise, and why says why.
		ours string
		why  string
	}{
		{name: "a shard's", text: good},
		{name: "without kind and version", text: `{"metadata":{"name":"bot","uid":"u"}}`},
		{name: "of another kind", text: `{"kind":"Secret","apiVersion":"v1","metadata":{"uid":"u"}}`},
		{name: "of a kind nobody knows", text: `{"kind":"Bot","apiVersion":"v1","metadata":{"uid":"u"}}`},
		{name: "of another version", text: `{"kind":"ServiceAccount","apiVersion":"v2","metadata":{"uid":"u"}}`},
		{name: "unknown members", text: `{"metadata":{"uid":"u","x":[1]},"y":{}}`},
		{name: "names in another case", text: `{"Metadata":{"UID":"u"}}`},
		{name: "uid in another case too", text: `{"metadata":{"uid":"u","UID":"v"}}`},
		{name: "uid twice", text: `{"metadata":{"uid":"u","uid":"v"}}`},
		{name: "uid that is no text", text: `{"metadata":{"uid":7}}`},
		{name: "no uid", text: `{"metadata":{"name":"bot"}}`},
		{name: "being deleted", text: `{"metadata":{"uid":"u","deletionTimestamp":"2026-09-01T12:00:00Z"}}`},
		{name: "deleted null", text: `{"metadata":{"uid":"u","deletionTimestamp":null}}`},
		{name: "deleted at no time", text: `{"metadata":{"uid":"u","deletionTimestamp":"soon"}}`},
		{name: "deleted in another case", text: `{"metadata":{"uid":"u","DeletionTimestamp":"2026-09-01T12:00:00Z"}}`},
		{name: "labels that are no texts", text: `{"metadata":{"uid":"u","labels":{"a":1}}}`},
		{name: "a member that is not used, of another type", text: `{"metadata":{"uid":"u"},"secrets":7}`, ours: "uid u", why: "what is not used is not judged"},
		{name: "nothing", text: ``},
		{name: "null", text: `null`},
		{name: "a list", text: `[]`},
		{name: "something behind it", text: good + good},
		{name: "HTML", media: "text/html", text: `<html>`},
		{name: "JSON that says it is HTML", media: "text/html", text: good, ours: "uid u", why: "only the text is judged"},
		{name: "no media type", media: "-", text: good},
		{name: "JSON with a character set", media: "application/json; charset=utf-8", text: good},
		{name: "201", code: 201, text: good, ours: "no answer", why: "no shard answers a get so"},
		{name: "a redirect", code: 302, text: good},
		{name: "404", code: 404, text: notFound},
		{name: "404 without a Status", code: 404, media: "text/plain", text: "404 page not found", ours: "no answer", why: "an address that is no API server answers so too"},
		{name: "404 of another reason", code: 404, text: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unknown","code":404}`, ours: "no answer", why: "a shard that has no such object says NotFound"},
		{name: "a Status that fails at 200", text: notFound, ours: "no answer", why: "no shard answers so"},
		{name: "401", code: 401, text: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Unauthorized","code":401}`},
		{name: "410", code: 410, text: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Gone","code":410}`},
		{name: "500 that says NotFound", code: 500, text: notFound, ours: "no answer", why: "500 is no answer, whatever it says"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newShardServer(t)
			s.set(accountPath, func(w http.ResponseWriter) {
				authntest.Answer(w, tc.code, tc.media, tc.text)
			})
			config := s.config()
			config.Host = s.URL + "/base/clusters/" + testHome
			config.QPS, config.ContentType = -1, "application/json"
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			account, err := client.CoreV1().ServiceAccounts("default").Get(t.Context(), "bot", metav1.GetOptions{})
			want := authntest.AsKube(t, said(string(account.GetUID()), account.GetDeletionTimestamp() != nil, err, apierrors.IsNotFound(err)), tc.ours, tc.why)
			object, ourErr := newAccountClient(t, s, nil).ServiceAccount(t.Context(), testHome, "default", "bot", false)
			if got := said(object.UID, object.Deleted, ourErr, errors.Is(ourErr, ErrNotFound)); got != want {
				t.Errorf("we say %q (%v), want %q; client-go says %v", got, ourErr, want, err)
			}
		})
	}
}

// said is what an answer means for tokens: one without a uid is good for none.
func said(uid string, deleted bool, err error, notFound bool) string {
	switch {
	case notFound:
		return "not found"
	case err != nil || uid == "":
		return "no answer"
	case deleted:
		return "uid " + uid + ", being deleted"
	}
	return "uid " + uid
}
