package serviceaccount

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/token"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
)

func newTest(t testing.TB, change func(*Config)) *Authenticator {
	t.Helper()
	c := Config{
		Issuers: []string{testIssuer},
		Keys:    NewKeySet(testKey(rsaKey())),
		Now:     func() time.Time { return testNow },
	}
	if change != nil {
		change(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// authenticate has a judge raw as the token of one of its issuers, whichever raw names.
func authenticate(ctx context.Context, a *Authenticator, raw string) (user.Info, time.Time, error) {
	return a.AuthenticateToken(ctx, token.Token{Raw: raw, JWT: true, Issuer: LegacyIssuer})
}

// identityOf is what a shard makes of the tokens bound and legacy.
func identityOf(extra map[string][]string) *user.DefaultInfo {
	all := map[string][]string{
		"authentication.kcp.io/cluster-name": {testHome},
		"authentication.kcp.io/scopes":       {"cluster:" + testHome},
	}
	for k, v := range extra {
		all[k] = v
	}
	return &user.DefaultInfo{
		Name:   "system:serviceaccount:default:bot",
		UID:    accountUID,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:default"},
		Extra:  all,
	}
}

func jti() map[string][]string {
	return map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=d0c3e25e-7d30-4a2e-8a4c-cd2a0df9e0c6"}}
}

// assertRefused checks the reason and that the text has no part of the token.
func assertRefused(t *testing.T, raw string, err error, want token.Reason) {
	t.Helper()
	var refusal *token.RefusalError
	if !errors.As(err, &refusal) {
		t.Fatalf("error %v, want a refusal for %s", err, want)
	}
	if refusal.Reason != want {
		t.Errorf("reason %s (%s), want %s", refusal.Reason, refusal, want)
	}
	if errors.Is(err, ErrUndecided) {
		t.Error("a refusal is undecided")
	}
	assertNoToken(t, raw, err)
}

func assertNoToken(t *testing.T, raw string, err error) {
	t.Helper()
	parts := strings.Split(raw, ".")
	for _, part := range append(parts, raw) {
		if len(part) > 20 && strings.Contains(err.Error(), part) {
			t.Errorf("the error holds a part of the token: %v", err)
		}
	}
	if len(err.Error()) > 2000 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

// What kcp's shards accept and refuse, claim by claim, without lookup.
func TestClaims(t *testing.T) {
	exp := testNow.Add(time.Hour + time.Minute) // with the leeway
	at := func(d time.Duration) int64 { return testNow.Add(d).Unix() }
	ref := func(name, uid string) object { return object{"name": name, "uid": uid} }
	merge := func(a, b map[string][]string) map[string][]string {
		for k, v := range b {
			a[k] = v
		}
		return a
	}
	for name, tc := range map[string]struct {
		claims    object
		audiences []string
		issuers   []string
		want      *user.DefaultInfo
		until     time.Time
		reason    token.Reason
	}{
		"bound":                             {claims: bound(), want: identityOf(jti()), until: exp},
		"legacy":                            {claims: legacy(), want: identityOf(nil)},
		"iss: unknown":                      {claims: with(bound(), object{"iss": "https://other.example"}), reason: token.ReasonIssuer},
		"iss: missing":                      {claims: with(bound(), object{"iss": nil}), reason: token.ReasonIssuer},
		"iss: a second one":                 {claims: with(bound(), object{"iss": "https://two", "aud": "https://two"}), issuers: []string{testIssuer, "https://two"}, want: identityOf(jti()), until: exp},
		"iss: no string":                    {claims: with(bound(), object{"iss": 7}), reason: token.ReasonMalformed},
		"iss: legacy claims":                {claims: with(legacy(), object{"iss": testIssuer}), reason: token.ReasonClaims},
		"iss: bound claims under legacy":    {claims: with(bound(), object{"iss": "kubernetes/serviceaccount"}), reason: token.ReasonClaims},
		"iss: legacy issuer also for bound": {claims: with(bound(), object{"iss": "kubernetes/serviceaccount"}), issuers: []string{testIssuer, "kubernetes/serviceaccount"}, want: identityOf(jti()), until: exp},
		"iss: legacy issuer for both":       {claims: legacy(), issuers: []string{testIssuer, "kubernetes/serviceaccount"}, want: identityOf(nil)},
		"aud: one of several":               {claims: with(bound(), object{"aud": []string{"x", testIssuer}}), want: identityOf(jti()), until: exp},
		"aud: a string":                     {claims: with(bound(), object{"aud": testIssuer}), want: identityOf(jti()), until: exp},
		"aud: another":                      {claims: with(bound(), object{"aud": []string{"vault"}}), reason: token.ReasonAudience},
		"aud: none means the API audiences": {claims: with(bound(), object{"aud": nil}), want: identityOf(jti()), until: exp},
		"aud: the issuer, not in api-audiences": {
			claims: bound(), audiences: []string{"https://api.example"}, reason: token.ReasonAudience,
		},
		"aud: one of api-audiences": {
			claims: with(bound(), object{"aud": []string{"https://api.example"}}), audiences: []string{"y", "https://api.example"}, want: identityOf(jti()), until: exp,
		},
		"aud: legacy with api-audiences":      {claims: legacy(), audiences: []string{"https://api.example"}, want: identityOf(nil)},
		"aud: legacy for another":             {claims: with(legacy(), object{"aud": "vault"}), reason: token.ReasonAudience},
		"aud: a number":                       {claims: with(bound(), object{"aud": 1}), reason: token.ReasonMalformed},
		"exp: within the leeway":              {claims: with(bound(), object{"exp": at(-59 * time.Second)}), want: identityOf(jti()), until: testNow.Add(time.Second)},
		"exp: past":                           {claims: with(bound(), object{"exp": at(-61 * time.Second)}), reason: token.ReasonExpired},
		"exp: none":                           {claims: with(bound(), object{"exp": nil}), want: identityOf(jti())},
		"exp: a string":                       {claims: with(bound(), object{"exp": "tomorrow"}), reason: token.ReasonMalformed},
		"exp: beyond all times":               {claims: with(bound(), object{"exp": 1e300}), reason: token.ReasonMalformed},
		"exp: legacy with one":                {claims: with(legacy(), object{"exp": at(-time.Hour)}), reason: token.ReasonExpired},
		"nbf: within the leeway":              {claims: with(bound(), object{"nbf": at(59 * time.Second)}), want: identityOf(jti()), until: exp},
		"nbf: future":                         {claims: with(bound(), object{"nbf": at(61 * time.Second)}), reason: token.ReasonNotYetValid},
		"iat: within the leeway":              {claims: with(bound(), object{"iat": at(59 * time.Second)}), want: identityOf(jti()), until: exp},
		"iat: future":                         {claims: with(bound(), object{"iat": at(61 * time.Second)}), reason: token.ReasonNotYetValid},
		"jti: none":                           {claims: with(bound(), object{"jti": nil}), want: identityOf(nil), until: exp},
		"jti: not of a legacy token":          {claims: with(legacy(), object{"jti": "x"}), want: identityOf(nil)},
		"sub: another name":                   {claims: with(bound(), object{"sub": "system:serviceaccount:default:admin"}), reason: token.ReasonClaims},
		"sub: another namespace":              {claims: with(bound(), object{"sub": "system:serviceaccount:kube-system:bot"}), reason: token.ReasonClaims},
		"sub: no service account":             {claims: with(bound(), object{"sub": "system:admin"}), reason: token.ReasonClaims},
		"sub: four parts":                     {claims: with(bound(), object{"sub": "system:serviceaccount:default:bot:x"}), reason: token.ReasonClaims},
		"sub: none":                           {claims: with(bound(), object{"sub": nil}), reason: token.ReasonClaims},
		"sub: of a legacy token, another":     {claims: with(legacy(), object{"sub": "system:serviceaccount:default:admin"}), reason: token.ReasonClaims},
		"kubernetes.io: none":                 {claims: with(bound(), object{"kubernetes.io": nil}), reason: token.ReasonClaims},
		"kubernetes.io: a string":             {claims: with(bound(), object{"kubernetes.io": "x"}), reason: token.ReasonMalformed},
		"clusterName: none":                   {claims: withKube(object{"clusterName": nil}), reason: token.ReasonClaims},
		"clusterName: a list for a scope":     {claims: withKube(object{"clusterName": "a1,cluster:root"}), reason: token.ReasonClaims},
		"clusterName: a path":                 {claims: withKube(object{"clusterName": "root:org"}), reason: token.ReasonClaims},
		"clusterName: with a slash":           {claims: withKube(object{"clusterName": "../x"}), reason: token.ReasonClaims},
		"clusterName: a system cluster":       {claims: with(withKube(object{"clusterName": "system:admin"}), nil), want: systemIdentity(), until: exp},
		"clusterName: more than a system one": {claims: withKube(object{"clusterName": "system:a,cluster:root"}), reason: token.ReasonClaims},
		"clusterName: a wildcard":             {claims: withKube(object{"clusterName": "*"}), reason: token.ReasonClaims},
		"clusterName: legacy, none":           {claims: with(legacy(), object{"kubernetes.io/serviceaccount/clusterName": nil}), reason: token.ReasonClaims},
		"namespace: none":                     {claims: withKube(object{"namespace": nil}), reason: token.ReasonClaims},
		"serviceaccount: none":                {claims: withKube(object{"serviceaccount": nil}), reason: token.ReasonClaims},
		"serviceaccount: no name":             {claims: withKube(object{"serviceaccount": object{"uid": accountUID}}), reason: token.ReasonClaims},
		"serviceaccount: no uid":              {claims: withKube(object{"serviceaccount": object{"name": "bot"}}), reason: token.ReasonClaims},
		"secret.name: legacy, none":           {claims: with(legacy(), object{"kubernetes.io/serviceaccount/secret.name": nil}), reason: token.ReasonClaims},
		"secret.name: legacy, a path":         {claims: with(legacy(), object{"kubernetes.io/serviceaccount/secret.name": "../../x"}), reason: token.ReasonClaims},
		"uid: legacy, none":                   {claims: with(legacy(), object{"kubernetes.io/serviceaccount/service-account.uid": nil}), reason: token.ReasonClaims},
		"name: legacy, none":                  {claims: with(legacy(), object{"kubernetes.io/serviceaccount/service-account.name": nil}), reason: token.ReasonClaims},
		"secret: bound to one":                {claims: withKube(object{"secret": ref("s", secretUID)}), want: identityOf(jti()), until: exp},
		"secret: a path":                      {claims: withKube(object{"secret": ref("a/../b", secretUID)}), reason: token.ReasonClaims},
		"pod: with node": {
			claims: withKube(object{"pod": ref("p", "p-uid"), "node": ref("n", "n-uid")}), until: exp,
			want: identityOf(merge(jti(), map[string][]string{
				"authentication.kubernetes.io/pod-name": {"p"}, "authentication.kubernetes.io/pod-uid": {"p-uid"},
				"authentication.kubernetes.io/node-name": {"n"}, "authentication.kubernetes.io/node-uid": {"n-uid"},
			})),
		},
		"pod: without uid is not passed on": {claims: withKube(object{"pod": ref("p", "")}), want: identityOf(jti()), until: exp},
		"node: without uid": {
			claims: withKube(object{"node": object{"name": "n"}}), until: exp,
			want: identityOf(merge(jti(), map[string][]string{"authentication.kubernetes.io/node-name": {"n"}})),
		},
		"warnafter: past changes nothing": {claims: withKube(object{"warnafter": at(-time.Minute)}), want: identityOf(jti()), until: exp},
		"warnafter: a string":             {claims: withKube(object{"warnafter": "x"}), reason: token.ReasonMalformed},
		"another claim":                   {claims: with(bound(), object{"x": object{"iss": "y"}}), want: identityOf(jti()), until: exp},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTest(t, func(c *Config) {
				c.Audiences = tc.audiences
				if tc.issuers != nil {
					c.Issuers = tc.issuers
				}
			})
			raw := tokenOf(t, tc.claims)
			got, until, err := authenticate(t.Context(), a, raw)
			if tc.reason != "" {
				assertRefused(t, raw, err, tc.reason)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(user.Info(tc.want), got); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			if !until.Equal(tc.until) {
				t.Errorf("ends %v, want %v", until, tc.until)
			}
		})
	}
}

func systemIdentity() *user.DefaultInfo {
	u := identityOf(jti())
	u.Extra["authentication.kcp.io/cluster-name"] = []string{"system:admin"}
	u.Extra["authentication.kcp.io/scopes"] = []string{"cluster:system:admin"}
	return u
}

// Each kind of key with each algorithm, and the ways key ids select.
func TestSignatures(t *testing.T) {
	payload := must(json.Marshal(bound()))
	hmac := func(t *testing.T) string { // the public key as a shared secret
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: publicPEM(rsaKey())}, nil)
		if err != nil {
			t.Fatal(err)
		}
		jws := must(signer.Sign(payload))
		return must(jws.CompactSerialize())
	}
	signed := func(private crypto.Signer, alg jose.SignatureAlgorithm, kid string) func(*testing.T) string {
		return func(t *testing.T) string { return sign(t, private, alg, kid, payload) }
	}
	all := NewKeySet(testKey(rsaKey()), testKey(p256()), testKey(p384()), testKey(p521()))
	onlyRSA := NewKeySet(testKey(rsaKey()))
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for name, tc := range map[string]struct {
		raw    func(*testing.T) string
		keys   Keys
		reason token.Reason // empty: accepted
	}{
		"RS256":                      {raw: signed(rsaKey(), jose.RS256, "own")},
		"RS256 without key id":       {raw: signed(rsaKey(), jose.RS256, "")},
		"ES256":                      {raw: signed(p256(), jose.ES256, "own")},
		"ES256 without key id":       {raw: signed(p256(), jose.ES256, "")},
		"ES384":                      {raw: signed(p384(), jose.ES384, "own")},
		"ES512":                      {raw: signed(p521(), jose.ES512, "own")},
		"RS384":                      {raw: signed(rsaKey(), jose.RS384, "own"), reason: token.ReasonMalformed},
		"RS512":                      {raw: signed(rsaKey(), jose.RS512, "own"), reason: token.ReasonMalformed},
		"PS256":                      {raw: signed(rsaKey(), jose.PS256, "own"), reason: token.ReasonMalformed},
		"HS256 with the public key":  {raw: hmac, reason: token.ReasonMalformed},
		"none":                       {raw: func(*testing.T) string { return part(`{"alg":"none"}`) + "." + part(string(payload)) + "." }, reason: token.ReasonMalformed},
		"another key's id":           {raw: signed(rsaKey(), jose.RS256, testKey(p256()).ID), reason: token.ReasonSignature},
		"unknown key id, known key":  {raw: signed(rsaKey(), jose.RS256, "x"), reason: token.ReasonUnknownKey},
		"unknown key":                {raw: signed(otherRSA(), jose.RS256, "own"), reason: token.ReasonUnknownKey},
		"unknown key without id":     {raw: signed(otherRSA(), jose.RS256, ""), reason: token.ReasonSignature},
		"unknown key, known id":      {raw: signed(otherRSA(), jose.RS256, testKey(rsaKey()).ID), reason: token.ReasonSignature},
		"no key of the kind":         {raw: signed(p256(), jose.ES256, ""), keys: onlyRSA, reason: token.ReasonSignature},
		"no key at all":              {raw: signed(p256(), jose.ES256, ""), keys: NewKeySet(), reason: token.ReasonUnknownKey},
		"signature of another":       {raw: func(t *testing.T) string { return spliced(t, payload) }, reason: token.ReasonSignature},
		"two parts":                  {raw: func(*testing.T) string { return part(`{"alg":"RS256"}`) + "." + part("{}") }, reason: token.ReasonMalformed},
		"JSON serialization":         {raw: func(*testing.T) string { return `{"payload":"","signatures":[]}` }, reason: token.ReasonMalformed},
		"opaque":                     {raw: func(*testing.T) string { return "opaque-and-longer-than-twenty" }, reason: token.ReasonMalformed},
		"critical header, unknown":   {raw: func(t *testing.T) string { return critical(t, payload) }, reason: token.ReasonSignature},
		"longer than what is read":   {raw: func(t *testing.T) string { return tokenOf(t, with(bound(), object{"x": strings.Repeat("x", 13<<10)})) }, reason: token.ReasonMalformed},
		"nearly as long":             {raw: func(t *testing.T) string { return tokenOf(t, with(bound(), object{"x": strings.Repeat("x", 11<<10)})) }},
		"algorithm of another curve": {raw: func(t *testing.T) string { return otherCurve(t, payload) }, keys: NewKeySet(testKey(p256())), reason: token.ReasonSignature},
		"payload that is no object":  {raw: func(t *testing.T) string { return sign(t, rsaKey(), jose.RS256, "own", []byte(`"x"`)) }, reason: token.ReasonMalformed},
		"payload with a name twice": {raw: func(t *testing.T) string {
			return sign(t, rsaKey(), jose.RS256, "own", []byte(`{"iss":"x","iss":"`+testIssuer+`"}`))
		}, reason: token.ReasonMalformed},
		"payload with another's case": {raw: func(t *testing.T) string {
			return sign(t, rsaKey(), jose.RS256, "own", []byte(`{"ISS":"`+testIssuer+`"}`))
		}, reason: token.ReasonIssuer},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTest(t, func(c *Config) {
				c.Keys = all
				if tc.keys != nil {
					c.Keys = tc.keys
				}
			})
			raw := tc.raw(t)
			u, _, err := authenticate(t.Context(), a, raw)
			if tc.reason != "" {
				assertRefused(t, raw, err, tc.reason)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(user.Info(identityOf(jti())), u); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

// otherCurve is signed with a P-256 key as ES384 asks for: SHA-384, and numbers
// of 48 bytes.
func otherCurve(t *testing.T, payload []byte) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"ES384"}`)) + "." + encode(payload)
	sum := sha512.Sum384([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, p256(), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...))
}

// spliced has the signature of other claims.
func spliced(t *testing.T, payload []byte) string {
	good := strings.Split(sign(t, rsaKey(), jose.RS256, "own", payload), ".")
	other := strings.Split(sign(t, rsaKey(), jose.RS256, "own", []byte("{}")), ".")
	return good[0] + "." + good[1] + "." + other[2]
}

// critical demands an extension that nobody knows.
func critical(t *testing.T, payload []byte) string {
	options := (&jose.SignerOptions{}).WithHeader("kid", testKey(rsaKey()).ID).WithCritical("x").WithHeader("x", 1)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: rsaKey()}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	return must(jws.CompactSerialize())
}

func TestNewErrors(t *testing.T) {
	keys := NewKeySet()
	for name, c := range map[string]Config{
		"no issuer":    {Keys: keys},
		"empty issuer": {Keys: keys, Issuers: []string{""}},
		"no keys":      {Issuers: []string{testIssuer}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestJudgesTokensOfItsIssuers(t *testing.T) {
	a := newTest(t, nil)
	for issuer, want := range map[string]bool{testIssuer: true, LegacyIssuer: true, "https://other.example": false, "": false} {
		if got := a.hasIssuer(token.Token{JWT: true, Issuer: issuer}); got != want {
			t.Errorf("a token of %q: %t, want %t", issuer, got, want)
		}
	}
}

// changingKeys counts how often it is asked for keys.
type changingKeys struct {
	*KeySet
	generation uint64
	asked      int
}

func (k *changingKeys) Keys(id string) []Key {
	k.asked++
	return k.KeySet.Keys(id)
}

func (k *changingKeys) Generation() uint64 { return k.generation }

func TestVerifiedTokensAreRemembered(t *testing.T) {
	now := testNow
	keys := &changingKeys{KeySet: NewKeySet(testKey(rsaKey())), generation: 1}
	a := newTest(t, func(c *Config) {
		c.Keys = keys
		c.Now = func() time.Time { return now }
	})
	// Ends 5 s before a minute from now, so 5 s from now with the leeway.
	raw := tokenOf(t, with(bound(), object{"exp": testNow.Add(time.Minute).Unix()}))
	asked := func(want int) {
		t.Helper()
		if keys.asked != want {
			t.Errorf("keys were asked for %d times, want %d", keys.asked, want)
		}
	}
	accept := func() {
		t.Helper()
		if _, _, err := authenticate(context.Background(), a, raw); err != nil {
			t.Fatal(err)
		}
	}
	accept()
	now = now.Add(9 * time.Second)
	accept()
	asked(1)
	now = now.Add(time.Second)
	accept() // ten seconds are over
	asked(2)
	keys.generation++
	accept() // other keys
	asked(3)
	now = testNow.Add(2*time.Minute - time.Second)
	accept()
	asked(4)
	now = testNow.Add(2*time.Minute + time.Second) // the token has ended
	_, _, err := authenticate(context.Background(), a, raw)
	assertRefused(t, raw, err, token.ReasonExpired)

	// A removed key is no longer trusted.
	now = testNow
	keys.KeySet, keys.generation = NewKeySet(), 9
	_, _, err = authenticate(context.Background(), a, raw)
	assertRefused(t, raw, err, token.ReasonUnknownKey)
}

func TestRefusalsAreNotRemembered(t *testing.T) {
	a := newTest(t, nil)
	for range 3 {
		_, _, _ = authenticate(t.Context(), a, tokenOf(t, with(bound(), object{"aud": "x"})))
	}
	if n := a.verified.Len(); n != 0 {
		t.Errorf("%d refused tokens are remembered", n)
	}
}

// Whatever is signed, judging it does not panic, and what it lets in is well
// formed.
func FuzzJudge(f *testing.F) {
	for _, claims := range []object{bound(), legacy(), withKube(object{"secret": object{"name": "s", "uid": "u"}}), withKube(object{"pod": nil})} {
		f.Add(must(json.Marshal(claims)))
	}
	f.Add([]byte(`{"kubernetes.io":{"clusterName":"system:x"}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := checkClaims(payload, []string{testIssuer}, testNow)
		if err != nil {
			if refusal := (*token.RefusalError)(nil); !errors.As(err, &refusal) {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		scopes := a.info.GetExtra()["authentication.kcp.io/scopes"]
		if len(scopes) != 1 || strings.ContainsAny(scopes[0], ", \t\r\n/") || !strings.HasPrefix(scopes[0], "cluster:") {
			t.Errorf("scopes %q", scopes)
		}
		if !strings.HasPrefix(a.info.GetName(), "system:serviceaccount:") || strings.Count(a.info.GetName(), ":") != 3 {
			t.Errorf("name %q", a.info.GetName())
		}
	})
}

func FuzzAuthenticate(f *testing.F) {
	f.Add(tokenOf(f, bound()))
	f.Add("a.b.c")
	f.Add("{}")
	good := tokenOf(f, bound())
	a := newTest(f, nil)
	f.Fuzz(func(t *testing.T, raw string) {
		_, _, err := authenticate(context.Background(), a, raw)
		if err == nil && raw != good && !strings.HasPrefix(raw, good[:strings.LastIndex(good, ".")]) {
			t.Errorf("%q was let in", raw)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add(publicPEM(rsaKey()))
	f.Add(certificatePEM(p256()))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = ParseKeys(text) })
}

// downHome can't be asked.
type downHome struct{}

func (downHome) ServiceAccount(context.Context, string, string, string, bool) (Object, error) {
	return Object{}, errors.New("connection refused")
}

func (downHome) Secret(context.Context, string, string, string, bool) (Secret, error) {
	return Secret{}, errors.New("connection refused")
}

// Each refusal is counted by its reason, and explanations count nothing.
func TestOutcomesAndTheirCount(t *testing.T) {
	good, expired := tokenOf(t, bound()), tokenOf(t, with(bound(), object{"exp": testNow.Add(-time.Hour).Unix()}))
	for name, tc := range map[string]struct {
		raw     string
		purpose token.Purpose
		home    AccountGetter
		want    tokentest.Outcome
		reasons []token.Reason
	}{
		"good":           {raw: good, want: tokentest.Accepted},
		"expired":        {raw: expired, want: tokentest.Refused, reasons: []token.Reason{token.ReasonExpired}},
		"an explanation": {raw: expired, purpose: token.ForExplanation, want: tokentest.Refused},
		"home is down":   {raw: good, home: downHome{}, want: tokentest.Undecided},
		"another issuer": {raw: tokenOf(t, with(bound(), object{"iss": "https://other.example"})), want: tokentest.Skipped},
		"opaque":         {raw: "opaque", want: tokentest.Skipped},
	} {
		t.Run(name, func(t *testing.T) {
			var reasons []token.Reason
			a := newTest(t, func(c *Config) {
				c.Accounts, c.Refused = tc.home, func(r token.Reason) { reasons = append(reasons, r) }
			})
			parsed := token.Parse(tc.raw)
			parsed.Purpose = tc.purpose
			u, _, err := a.AuthenticateToken(t.Context(), parsed)
			if got := tokentest.OutcomeOf(u, err); got != tc.want {
				t.Errorf("outcome %v (%v), want %v", got, err, tc.want)
			}
			if err != nil {
				assertNoToken(t, tc.raw, err)
			}
			if diff := cmp.Diff(tc.reasons, reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}
