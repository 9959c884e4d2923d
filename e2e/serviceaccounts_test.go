package e2e

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"frontproxy/e2e/harness"
)

// serviceAccount is one in the namespace default.
type serviceAccount struct {
	home      harness.Workspace
	name, uid string
}

// newServiceAccount makes one called bot.
func newServiceAccount(t *testing.T, home harness.Workspace) serviceAccount {
	t.Helper()
	a := serviceAccount{home: home, name: "bot"}
	eventually(t, "a service account in "+home.Path, func(ctx context.Context) error {
		made, err := a.kube(t).CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: a.name}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			made, err = a.kube(t).CoreV1().ServiceAccounts("default").Get(ctx, a.name, metav1.GetOptions{})
		}
		if err == nil {
			a.uid = string(made.UID)
		}
		return err
	})
	return a
}

func (a serviceAccount) kube(t *testing.T) kubernetes.Interface {
	t.Helper()
	kube, err := env.Admin().Kube(a.home.Path)
	check(t, err)
	return kube
}

// identity is what shards say of it.
func (a serviceAccount) identity() authenticationv1.UserInfo {
	return authenticationv1.UserInfo{
		Username: "system:serviceaccount:default:" + a.name,
		Groups:   []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"},
		Extra: map[string]authenticationv1.ExtraValue{
			"authentication.kcp.io/cluster-name": {a.home.Cluster}, "authentication.kcp.io/scopes": {"cluster:" + a.home.Cluster},
		},
	}
}

// bound is a token by TokenRequest; a nil spec asks for the usual one.
func (a serviceAccount) bound(t *testing.T, spec *authenticationv1.TokenRequestSpec) string {
	t.Helper()
	if spec == nil {
		spec = &authenticationv1.TokenRequestSpec{}
	}
	request, err := a.kube(t).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), a.name, &authenticationv1.TokenRequest{Spec: *spec}, metav1.CreateOptions{})
	check(t, err)
	return request.Status.Token
}

// secret is a Secret with a legacy token, which kcp puts there.
func (a serviceAccount) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	secrets := a.kube(t).CoreV1().Secrets("default")
	_, err := secrets.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: a.name}}, Type: corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		check(t, err)
	}
	var secret *corev1.Secret
	eventually(t, "a token in a Secret of "+a.home.Path, func(ctx context.Context) error {
		var err error
		if secret, err = secrets.Get(ctx, name, metav1.GetOptions{}); err == nil && len(secret.Data["token"]) == 0 {
			err = errors.New("none yet")
		}
		return err
	})
	return secret
}

// legacy is the token of a Secret that is always the same.
func (a serviceAccount) legacy(t *testing.T) string {
	t.Helper()
	return string(a.secret(t, "bot-token").Data["token"])
}

// doctoring says what is changed of a token before it is signed again. The zero
// value changes nothing.
type doctoring struct {
	key    crypto.Signer           // nil: the home shard's
	alg    jose.SignatureAlgorithm // empty: RS256
	kid    *string                 // nil: as it was
	claims func(map[string]any)
}

func (a serviceAccount) doctor(t *testing.T, token string, d doctoring) string {
	t.Helper()
	head, claims := opened(t, token)
	if d.claims != nil {
		d.claims(claims)
	}
	key := jose.JSONWebKey{Key: d.key, KeyID: head}
	if d.key == nil {
		key.Key = privateKey(t, env.Shard(a.home.Shard).ServiceAccountKey)
	}
	if d.kid != nil {
		key.KeyID = *d.kid
	}
	if d.alg == "" {
		d.alg = jose.RS256
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: d.alg, Key: key}, nil)
	check(t, err)
	payload, err := json.Marshal(claims)
	check(t, err)
	signed, err := signer.Sign(payload)
	check(t, err)
	text, err := signed.CompactSerialize()
	check(t, err)
	return text
}

// opened returns a token's key id and its claims.
func opened(t *testing.T, token string) (kid string, claims map[string]any) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	check(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(jws.UnsafePayloadWithoutVerification())))
	decoder.UseNumber()
	check(t, decoder.Decode(&claims))
	return jws.Signatures[0].Protected.KeyID, claims
}

func privateKey(t *testing.T, pair harness.KeyPair) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(pair.Key)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	check(t, err)
	return key.(crypto.Signer)
}

func newRSAKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	return key
}

// certificateOf is a file with a certificate of the key, as kcp-operator mounts
// keys.
func certificateOf(t *testing.T, pair harness.KeyPair) string {
	t.Helper()
	key := privateKey(t, pair)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "service accounts"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	return file(t, "service-account.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// unsigned puts together a token with another signature than go-jose would.
func unsigned(t *testing.T, header, payload map[string]any, sign func(string) []byte) string {
	t.Helper()
	part := func(v map[string]any) string {
		text, err := json.Marshal(v)
		check(t, err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(header) + "." + part(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

// tampered is a token and what becomes of it at the home shard and at a proxy.
type tampered struct {
	name         string
	token        string
	shard, proxy bool
	// why they differ, where they do.
	why string
}

// TestServiceAccountTokensClaimByClaim sends doctored tokens to the home shard
// itself and through the proxy, which has the shard's key from a file or from
// the shard: never does the proxy accept what the shard refuses, and where both
// accept, the shard takes the bearer for the same one.
func TestServiceAccountTokensClaimByClaim(t *testing.T) {
	t.Parallel()
	o := newOrg(t, harness.RootShard)
	account := newServiceAccount(t, o.workspace("home", harness.TypeRef{}, shardOne))
	shard := env.Shard(shardOne)
	proxies := map[string]*harness.Proxy{
		"file":  startProxyNamed(t, "claims-file", "--service-account-key-file="+shard.ServiceAccountKey.CertFile),
		"shard": startProxyNamed(t, "claims-shards", "--service-account-keys-from-shards"),
	}
	good := account.bound(t, nil)
	for _, p := range proxies {
		eventuallyIn(t, p.Token(good), account.home.Path)
	}
	for _, tt := range account.tampered(t) {
		directly, shardErr := directTo(shard, tt.token).WhoAmI(t.Context(), account.home.Cluster)
		if got := shardErr == nil; got != tt.shard || !got && status(shardErr) != http.StatusUnauthorized {
			t.Errorf("%s: at the shard %v, accepted should be %t", tt.name, shardErr, tt.shard)
		}
		for how, p := range proxies {
			through, err := p.Token(tt.token).WhoAmI(t.Context(), account.home.Path)
			if got := err == nil; got != tt.proxy || !got && status(err) != http.StatusUnauthorized {
				t.Errorf("%s: at the proxy (key from %s) %v, accepted should be %t", tt.name, how, err, tt.proxy)
			}
			if err == nil && shardErr != nil {
				t.Errorf("%s: the proxy (key from %s) accepts what the shard refuses", tt.name, how)
			}
			if err == nil && shardErr == nil {
				compareAccounts(t, tt.name, through, directly)
			}
		}
		if (tt.shard != tt.proxy) != (tt.why != "") {
			t.Errorf("%s: shard %t, proxy %t, and the reason is %q", tt.name, tt.shard, tt.proxy, tt.why)
		}
	}
}

// TestServiceAccountAudiences: --api-audiences says which tokens are meant for
// the proxy, whatever the shard's own audiences are.
func TestServiceAccountAudiences(t *testing.T) {
	t.Parallel()
	o := newOrg(t, harness.RootShard)
	account := newServiceAccount(t, o.workspace("home", harness.TypeRef{}, shardOne))
	p := startProxy(t, "--api-audiences=other,more", "--service-account-key-file="+env.Shard(shardOne).ServiceAccountKey.CertFile)
	other := account.bound(t, &authenticationv1.TokenRequestSpec{Audiences: []string{"other"}})
	eventuallyIn(t, p.Token(other), account.home.Path)
	got, err := p.Token(other).WhoAmI(t.Context(), account.home.Path)
	check(t, err)
	compareGlobal(t, "a token for another audience", got, account.identity())
	wantRefused(t, p, account.home, "a token for the shards", account.bound(t, nil))
	if _, err := directTo(env.Shard(shardOne), other).WhoAmI(t.Context(), account.home.Cluster); status(err) != http.StatusUnauthorized {
		t.Errorf("a token for another audience, at the shard: %v, want 401", err)
	}
}

// compareAccounts compares whom the shard takes the bearer for, but for the UID,
// which the usual mapping does not pass on.
func compareAccounts(t *testing.T, what string, through, directly authenticationv1.UserInfo) {
	t.Helper()
	for _, u := range []*authenticationv1.UserInfo{&through, &directly} {
		u.UID = ""
		slices.Sort(u.Groups)
	}
	if diff := cmp.Diff(directly, through); diff != "" {
		t.Errorf("%s: whom the shard takes the bearer for (-directly +through the proxy):\n%s", what, diff)
	}
}

// startProxyNamed is startProxy for tests that start several.
func startProxyNamed(t *testing.T, name string, args ...string) *harness.Proxy {
	t.Helper()
	p, err := env.NewProxy("proxy-"+name, harness.ProxyOptions{Args: args})
	check(t, err)
	check(t, p.Start(t.Context()))
	t.Cleanup(func() { check(t, p.Stop()) })
	return p
}

// directTo is whoever token says, straight at a shard.
func directTo(s *harness.Shard, token string) *harness.Client {
	return harness.NewClient(&rest.Config{Host: s.URL, QPS: -1, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: env.ServingCA.PEM}})
}

// tampered are tokens of all kinds, most of them signed with the shard's key.
func (a serviceAccount) tampered(t *testing.T) []tampered {
	t.Helper()
	const everyone = "kcp signs no such token, so no client has one"
	bound, legacy := a.bound(t, nil), a.legacy(t)
	kid, claims := opened(t, bound)
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	set := func(pairs ...any) func(map[string]any) {
		return func(c map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				if key := pairs[i].(string); pairs[i+1] == nil {
					delete(c, key)
				} else {
					c[key] = pairs[i+1]
				}
			}
		}
	}
	kube := func(pairs ...any) func(map[string]any) {
		return func(c map[string]any) { set(pairs...)(c["kubernetes.io"].(map[string]any)) }
	}
	ref := func(name, uid string) map[string]any { return map[string]any{"name": name, "uid": uid} }
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	none, wrong, public := "", "no-such-key", env.Shard(a.home.Shard).ServiceAccountKey.Cert
	const private = "kubernetes.io/serviceaccount/"
	re := func(d doctoring) string { return a.doctor(t, bound, d) }
	old := func(d doctoring) string { return a.doctor(t, legacy, d) }
	return []tampered{
		{name: "as it is", token: bound, shard: true, proxy: true},
		{name: "signed again", token: re(doctoring{}), shard: true, proxy: true},
		{name: "legacy as it is", token: legacy, shard: true, proxy: true},
		{name: "another audience by TokenRequest", token: a.bound(t, &authenticationv1.TokenRequestSpec{Audiences: []string{"other"}})},
		{name: "two audiences by TokenRequest", token: a.bound(t, &authenticationv1.TokenRequestSpec{Audiences: []string{"other", "https://kcp.default.svc"}}), shard: true, proxy: true},
		{name: "aud: another", token: re(doctoring{claims: set("aud", "other")})},
		{name: "aud: none", token: re(doctoring{claims: set("aud", nil)}), shard: true, proxy: true},
		{name: "aud: empty list", token: re(doctoring{claims: set("aud", []string{})}), shard: true, proxy: true},
		{name: "exp: passed", token: re(doctoring{claims: set("exp", at(-2*time.Minute), "iat", at(-time.Hour), "nbf", at(-time.Hour))})},
		{name: "exp: passed, within the leeway", token: re(doctoring{claims: set("exp", at(-5*time.Second), "iat", at(-time.Hour), "nbf", at(-time.Hour))}), shard: true, proxy: true},
		{name: "exp: none", token: re(doctoring{claims: set("exp", nil)}), shard: true, proxy: true},
		{name: "exp: a text", token: re(doctoring{claims: set("exp", "tomorrow")})},
		{name: "nbf: to come", token: re(doctoring{claims: set("nbf", at(10*time.Minute))})},
		{name: "nbf: none", token: re(doctoring{claims: set("nbf", nil)}), shard: true, proxy: true},
		{name: "iat: to come", token: re(doctoring{claims: set("iat", at(10*time.Minute))})},
		{name: "iss: another", token: re(doctoring{claims: set("iss", "https://other.example")})},
		{name: "iss: none", token: re(doctoring{claims: set("iss", nil)})},
		{name: "iss: legacy, with a bound token's claims", token: re(doctoring{claims: set("iss", "kubernetes/serviceaccount")})},
		{name: "alg: none", token: unsigned(t, map[string]any{"alg": "none", "kid": kid}, claims, func(string) []byte { return nil })},
		{name: "alg: HS256 with the public key", token: unsigned(t, map[string]any{"alg": "HS256", "kid": kid}, claims, hmacWith(public))},
		{name: "alg: RS512", token: re(doctoring{alg: jose.RS512}), shard: true, why: everyone},
		{name: "alg: PS256", token: re(doctoring{alg: jose.PS256}), shard: true, why: everyone},
		{name: "a key of a stranger", token: re(doctoring{key: newRSAKey(t)})},
		{name: "a key of a stranger, no kid", token: re(doctoring{key: newRSAKey(t), kid: &none})},
		{name: "an elliptic key of a stranger", token: re(doctoring{key: p256, alg: jose.ES256})},
		{name: "the root shard's key", token: re(doctoring{key: privateKey(t, env.Shard(harness.RootShard).ServiceAccountKey)})},
		{name: "the root shard's key, no kid", token: re(doctoring{key: privateKey(t, env.Shard(harness.RootShard).ServiceAccountKey), kid: &none})},
		{name: "20 KiB", token: re(doctoring{claims: set("filler", strings.Repeat("x", 15<<10))}), shard: true, why: "kcp's tokens have below 2 KiB"},
		{name: "kid: unknown", token: re(doctoring{kid: &wrong})},
		{name: "kid: none", token: re(doctoring{kid: &none}), shard: true, proxy: true},
		{name: "signature cut", token: bound[:len(bound)-8]},
		{name: "no signature", token: bound[:strings.LastIndexByte(bound, '.')+1]},
		{name: "sub: another account", token: re(doctoring{claims: set("sub", "system:serviceaccount:default:other")}), shard: true, why: everyone},
		{name: "sub: none", token: re(doctoring{claims: set("sub", nil)}), shard: true, why: everyone},
		{name: "kubernetes.io: none", token: re(doctoring{claims: set("kubernetes.io", nil)})},
		{name: "kubernetes.io: empty", token: re(doctoring{claims: set("kubernetes.io", map[string]any{})})},
		{name: "clusterName: none", token: re(doctoring{claims: kube("clusterName", nil)})},
		{name: "clusterName: root", token: re(doctoring{claims: kube("clusterName", "root")})},
		{name: "clusterName: unknown", token: re(doctoring{claims: kube("clusterName", "nosuchcluster0001")})},
		{name: "clusterName: two scopes", token: re(doctoring{claims: kube("clusterName", a.home.Cluster+",cluster:root")})},
		{name: "namespace: another", token: re(doctoring{claims: kube("namespace", "other")})},
		{name: "serviceaccount: another name", token: re(doctoring{claims: kube("serviceaccount", ref("other", a.uid))})},
		{name: "serviceaccount: default's name and sub, bot's uid", token: re(doctoring{claims: both(kube("serviceaccount", ref("default", a.uid)), set("sub", "system:serviceaccount:default:default"))})},
		{name: "serviceaccount: another uid", token: re(doctoring{claims: kube("serviceaccount", ref(a.name, "8a6c0e0e-5f0b-4bd4-9d3c-1b8c4f0a0000"))})},
		{name: "serviceaccount: no uid", token: re(doctoring{claims: kube("serviceaccount", map[string]any{"name": a.name})})},
		{name: "pod-bound", token: re(doctoring{claims: kube("pod", ref("pod", "pod-uid"))})},
		{name: "node-bound", token: re(doctoring{claims: kube("node", ref("node", "node-uid"))})},
		{name: "pod- and node-bound", token: re(doctoring{claims: kube("pod", ref("pod", "pod-uid"), "node", ref("node", "node-uid"))})},
		{name: "bound to a Secret that is not there", token: re(doctoring{claims: kube("secret", ref("none", "none-uid"))})},
		{name: "bound to a Secret of another uid", token: re(doctoring{claims: kube("secret", ref("bot-token", "none-uid"))})},
		{name: "legacy: signed again as it was", token: old(doctoring{}), shard: true, proxy: true},
		{name: "legacy: the Secret holds another", token: old(doctoring{claims: set("x", "y")})},
		{name: "legacy: another Secret", token: old(doctoring{claims: set(private+"secret.name", "none")})},
		{name: "legacy: no Secret", token: old(doctoring{claims: set(private+"secret.name", nil)})},
		{name: "legacy: another account", token: old(doctoring{claims: set(private+"service-account.name", "default", "sub", "system:serviceaccount:default:default")})},
		{name: "legacy: sub is another", token: old(doctoring{claims: set("sub", "system:serviceaccount:default:default")})},
		{name: "legacy: another uid", token: old(doctoring{claims: set(private+"service-account.uid", "none")})},
		{name: "legacy: no cluster", token: old(doctoring{claims: set(private+"clusterName", nil)})},
		{name: "legacy: expired", token: old(doctoring{claims: set("exp", at(-time.Hour))})},
		{name: "legacy: the issuer of bound tokens", token: old(doctoring{claims: set("iss", "https://kcp.default.svc")})},
	}
}

// hmacWith signs with a text for a key.
func hmacWith(key []byte) func(string) []byte {
	return func(text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
}

func both(f, g func(map[string]any)) func(map[string]any) {
	return func(c map[string]any) { f(c); g(c) }
}
