package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/klog/v2"

	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/oidc"
	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/token"
	"frontproxy/authn/tokenfile"
	"frontproxy/authn/webhook"
	"frontproxy/index"
)

// apiAudience is the API's in these tests, and the issuer of service accounts.
const apiAudience = "https://kcp.default.svc"

// accountKey signs service accounts' tokens.
type accountKey struct {
	key    serviceaccount.Key
	signer jose.Signer
}

func newAccountKey(t *testing.T) *accountKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := serviceaccount.NewKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: key.ID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &accountKey{key, signer}
}

// token is one of account bot in namespace default of the logical cluster.
func (k *accountKey) token(t *testing.T, cluster string, audiences ...string) string {
	t.Helper()
	payload, err := json.Marshal(map[string]any{
		"iss": apiAudience, "sub": "system:serviceaccount:default:bot", "aud": audiences, "exp": time.Now().Add(time.Hour).Unix(), "jti": "1",
		"kubernetes.io": map[string]any{"clusterName": cluster, "namespace": "default", "serviceaccount": map[string]any{"name": "bot", "uid": "u"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := k.signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// operators are global token authenticators of three kinds, in the order in which
// they are asked, and what makes tokens that they know.
type operators struct {
	tokens    []token.Authenticator
	accounts  *accountKey
	oidcToken string // i0:dave's
}

// newOperators makes them, with the lines of a token file.
func newOperators(t *testing.T, lines string) *operators {
	t.Helper()
	file, config := filepath.Join(t.TempDir(), "tokens.csv"), filepath.Join(t.TempDir(), "authn.yaml")
	authntest.WriteFile(t, file, lines)
	static, err := tokenfile.New(file, nil, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	key := newAccountKey(t)
	accounts, err := serviceaccount.New(serviceaccount.Config{Issuers: []string{apiAudience}, Keys: serviceaccount.NewKeySet(key.key)})
	if err != nil {
		t.Fatal(err)
	}
	s := issuertest.Serve(t, issuertest.Options{})
	authntest.WriteFile(t, config, tokentest.AuthConfig("v1", s))
	openID, err := oidc.New(oidc.Config{ConfigFile: config, Issuers: tokentest.RunPool(t, issuer.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	o := &operators{[]token.Authenticator{static, accounts, openID}, key, s.Sign(issuertest.Claims{"sub": "dave", "aud": "app"})}
	if _, err := tokentest.Ask(t, openID, o.oidcToken); err != nil {
		t.Fatal(err)
	}
	return o
}

// All global token authenticators together, through Decide.
func TestGlobalAuthenticatorsTogether(t *testing.T) {
	o := newOperators(t, "static-token,carol,3,ops\n")
	saToken, oidcToken := o.accounts.token(t, "root", apiAudience), o.oidcToken
	server := tokentest.ServeReviews(t, func(w http.ResponseWriter, q authenticationv1.TokenReview) {
		if q.Spec.Token == "opaque-token-0123456789" {
			tokentest.Says(tokentest.SaysAlice)(w, q)
			return
		}
		tokentest.Says(`{}`)(w, q)
	})
	webhook, err := webhook.New(webhook.Config{ConfigFile: server.Kubeconfig(t, server.URL+"/authenticate"), TTL: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Tokens: o.tokens, Webhook: webhook})
	if err != nil {
		t.Fatal(err)
	}
	// A service account's token with its signature taken off.
	forged := saToken[:strings.LastIndex(saToken, ".")+1] + strings.Repeat("A", 86)
	for _, tc := range []struct {
		name, token string
		user        string
		status      int
		webhook     int64 // how often it is asked
	}{
		{"token file", "static-token", "carol", 200, 0},
		{"service account", saToken, "system:serviceaccount:default:bot", 200, 0},
		{"OIDC", oidcToken, "i0:dave", 200, 0},
		{"webhook", "opaque-token-0123456789", "alice", 200, 1},
		{"webhook again", "opaque-token-0123456789", "alice", 200, 0},
		{"nobody's", "garbage", "", 401, 1},
		{"nobody's again", "garbage", "", 401, 0},
		{"forged", forged, "", 401, 1},
		{"none", "", "", 401, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := server.Asked.Load()
			r := httptest.NewRequest(http.MethodGet, "https://proxy.example/clusters/root/api", nil)
			if tc.token != "" {
				r.Header.Set("Authorization", "Bearer "+tc.token)
			}
			d := a.Decide(r.Context(), requestOf(r, &index.Target{}))
			got := ""
			if d.User != nil {
				got = d.User.GetName()
			}
			if d.Status != tc.status || got != tc.user || d.PassThrough {
				t.Errorf("status %d, user %q, pass-through %t; want %d, %q", d.Status, got, d.PassThrough, tc.status, tc.user)
			}
			if n := server.Asked.Load() - before; n != tc.webhook {
				t.Errorf("the webhook was asked %d times, want %d", n, tc.webhook)
			}
			for _, v := range d.Verdicts {
				if tc.token != "" && strings.Contains(v.Reason, tc.token) {
					t.Errorf("%s's reason holds the token", v.Authenticator)
				}
			}
			if tc.name == "forged" {
				var names []string
				for _, v := range d.Verdicts {
					names = append(names, v.Authenticator)
				}
				if diff := cmp.Diff([]string{"token-file", "service-accounts", "oidc", "webhook"}, names); diff != "" {
					t.Errorf("asked, in order (-want +got):\n%s", diff)
				}
			}
		})
	}
}
