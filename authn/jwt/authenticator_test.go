package jwt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/component-base/metrics/legacyregistry"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/expression"
	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/token"
	"frontproxy/internal/jwks"
)

// slotsOfType are those that a workspace type has.
const slotsOfType = 2

// entryAt names an entry by its place.
func entryAt(owner, configuration string, n int, _ string) string {
	return fmt.Sprintf("%s/%s[%d]", owner, configuration, n)
}

// buildSpec builds a spec outside an index, as one of a type of its own.
func buildSpec(t testing.TB, c Config, raw string) ([]BoundedAuthenticator, error) {
	t.Helper()
	if c.Clock == nil {
		c.Clock = clocktesting.NewFakeClock(time.Now())
	}
	if c.Issuers == nil {
		c.Issuers = tokentest.RunPool(t, issuer.Config{})
	}
	spec, err := ParseSpec([]byte(raw))
	if err != nil {
		return nil, err
	}
	c.Limited, c.Name = true, entryAt
	builder := NewBuilder(c)
	built, err := builder.Build("c1", "config", spec)
	if err != nil {
		return nil, err
	}
	t.Cleanup(built.Close)
	evaluations := make(chan struct{}, slotsOfType)
	var all []BoundedAuthenticator
	for _, a := range built.Authenticators {
		all = append(all, BoundedAuthenticator{Authenticator: a, Types: evaluations})
	}
	return all, nil
}

func mustBuild(t testing.TB, c Config, raw string) BoundedAuthenticator {
	t.Helper()
	all, err := buildSpec(t, c, raw)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// Every kind of bad token is refused with a reason, and a good one still works.
func TestJWTTokens(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	other := issuertest.Serve(t, issuertest.Options{})
	algorithms := []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES384, jose.ES512, jose.EdDSA,
	}
	for _, alg := range algorithms {
		s.Sign(nil, issuertest.Algorithm(alg)) // makes and publishes the key
	}
	m := mustBuild(t, Config{RequireAudiences: []string{"api", "https://kcp"}}, tokentest.SpecFor(s, tokentest.With([]string{"app", "app2"}, "issuer", "audiences"), tokentest.With("MatchAny", "issuer", "audienceMatchPolicy")))
	both := []string{"app", "api"}
	good := issuertest.Claims{"sub": "alice", "aud": both}
	claims := func(more issuertest.Claims) issuertest.Claims {
		out := issuertest.Claims{"sub": "alice", "aud": both}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	now := time.Now()
	type test struct {
		name, token string
		want        tokentest.Outcome
		reason      string
	}
	tests := []test{
		{"good", s.Sign(good), tokentest.Accepted, ""},
		{"second audience", s.Sign(claims(issuertest.Claims{"aud": []string{"app2", "https://kcp"}})), tokentest.Accepted, ""},
		{"no kid", s.Sign(good, issuertest.NoKeyID()), tokentest.Accepted, ""},
		{"expired", s.Sign(claims(issuertest.Claims{"exp": now.Add(-time.Minute).Unix()})), tokentest.Refused, "expired at 20"},
		{"no expiry", s.Sign(claims(issuertest.Claims{"exp": nil})), tokentest.Refused, "no expiry"},
		{"expiry is no time", s.Sign(claims(issuertest.Claims{"exp": "soon"})), tokentest.Refused, "malformed claims"},
		{"not yet valid", s.Sign(claims(issuertest.Claims{"nbf": now.Add(time.Hour).Unix()})), tokentest.Refused, "not valid before"},
		{"nearly valid", s.Sign(claims(issuertest.Claims{"nbf": now.Add(30 * time.Second).Unix()})), tokentest.Accepted, ""},
		{"wrong audience", s.Sign(claims(issuertest.Claims{"aud": "web"})), tokentest.Refused, `for ["web"], the configuration wants one of ["app" "app2"]`},
		{"no audience", s.Sign(claims(issuertest.Claims{"aud": nil})), tokentest.Refused, "audience"},
		{"audience is a number", s.Sign(claims(issuertest.Claims{"aud": 1})), tokentest.Refused, "aud is neither"},
		{"not the API's audience", s.Sign(claims(issuertest.Claims{"aud": "app"})), tokentest.Refused, `--api-audiences wants one of ["api" "https://kcp"]`},
		{"wrong issuer", s.Sign(claims(issuertest.Claims{"iss": other.URL()})), tokentest.Skipped, ""},
		{"another's token", other.Sign(good), tokentest.Skipped, ""},
		{"wrong key", s.Sign(good, issuertest.KeyOf(other)), tokentest.Refused, "signature does not verify with key"},
		{"unknown kid", s.Sign(good, issuertest.KeyID("nobody's")), tokentest.Refused, `has no key with id "nobody's"`},
		{"none", s.Sign(good, issuertest.Unsigned()), tokentest.Refused, "unsupported"},
		{"HS256 with the public key", s.Sign(good, issuertest.PublicKeyAsSecret()), tokentest.Refused, "unsupported"},
		{"no name", s.Sign(claims(issuertest.Claims{"sub": nil})), tokentest.Refused, `username claims "sub"`},
		{"too long", s.Sign(claims(issuertest.Claims{"x": strings.Repeat("x", MaxTokenBytes)})), tokentest.Refused, "at most 16384"},
		{"1 MB", s.Sign(claims(issuertest.Claims{"x": strings.Repeat("x", 1<<20)})), tokentest.Skipped, ""},
		{"claims are a list", s.Sign(nil, issuertest.Payload([]byte(`["iss"]`))), tokentest.Skipped, ""},
		{"garbage", "garbage", tokentest.Skipped, ""},
		{"empty", "", tokentest.Skipped, ""},
		{"two issuers, the last counts", s.Sign(nil, issuertest.Payload([]byte(fmt.Sprintf(
			`{"iss":%q,"iss":%q,"sub":"alice","aud":["app","api"],"exp":%d}`, s.URL(), other.URL(), now.Add(time.Hour).Unix())))), tokentest.Skipped, ""},
	}
	for _, alg := range algorithms {
		want, reason := tokentest.Accepted, ""
		if alg == jose.EdDSA {
			want, reason = tokentest.Refused, "unsupported"
		}
		tests = append(tests, test{string(alg), s.Sign(good, issuertest.Algorithm(alg)), want, reason})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, until, err := m.AuthenticateToken(context.Background(), token.Parse(tt.token))
			if diff := cmp.Diff(tt.want, tokentest.OutcomeOf(u, err)); diff != "" {
				t.Fatalf("(-want +got):\n%s%v", diff, err)
			}
			if err != nil {
				checkReason(t, err, tt.reason, tt.token)
			}
			if tt.want == tokentest.Accepted && (u.GetName() != "alice" || until.Sub(now) < time.Minute) {
				t.Errorf("got %v until %s", u, until)
			}
			if u, _, err := m.AuthenticateToken(context.Background(), token.Parse(s.Sign(good))); err != nil || u == nil {
				t.Errorf("a good token afterwards: %v, %v", u, err)
			}
		})
	}
}

// checkReason wants reason in err, and nothing of the token.
func checkReason(t *testing.T, err error, reason, signed string) {
	t.Helper()
	if !strings.Contains(err.Error(), reason) {
		t.Errorf("got %q, want it to say %q", err, reason)
	}
	for part := range strings.SplitSeq(signed, ".") {
		if len(part) > 12 && strings.Contains(err.Error(), part) {
			t.Errorf("a part of the token is in the reason: %q", err)
		}
	}
	if len(err.Error()) > 1000 {
		t.Errorf("the reason has %d bytes", len(err.Error()))
	}
}

func TestJWTClaims(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	pool := tokentest.RunPool(t, issuer.Config{})
	mapping := func(value any, path ...string) func(tokentest.Object) {
		return tokentest.With(value, append([]string{"claimMappings"}, path...)...)
	}
	rule := func(field string, rules ...tokentest.Object) func(tokentest.Object) {
		return tokentest.With(rules, field)
	}
	tests := []struct {
		name   string
		edits  []func(tokentest.Object)
		claims issuertest.Claims
		want   *user.DefaultInfo
		reason string
	}{
		{name: "prefixes", edits: []func(tokentest.Object){
			mapping(tokentest.Object{"claim": "sub", "prefix": "oidc:"}, "username"),
			mapping(tokentest.Object{"claim": "roles", "prefix": "role:"}, "groups"),
			mapping(tokentest.Object{"claim": "oid"}, "uid"),
		}, claims: issuertest.Claims{"sub": "alice", "roles": []string{"a", "b"}, "oid": "42"},
			want: &user.DefaultInfo{Name: "oidc:alice", UID: "42", Groups: []string{"role:a", "role:b"}}},
		{name: "one group as a string", edits: []func(tokentest.Object){mapping(tokentest.Object{"claim": "roles", "prefix": ""}, "groups")},
			claims: issuertest.Claims{"sub": "alice", "roles": "a"}, want: &user.DefaultInfo{Name: "alice", Groups: []string{"a"}}},
		{name: "token id", claims: issuertest.Claims{"sub": "alice", "jti": "7"},
			want: &user.DefaultInfo{Name: "alice", Extra: map[string][]string{user.CredentialIDKey: {"JTI=7"}}}},
		{name: "unverified email", edits: []func(tokentest.Object){mapping(tokentest.Object{"claim": "email", "prefix": ""}, "username")},
			claims: issuertest.Claims{"email": "a@example.com", "email_verified": false}, reason: "email not verified"},
		{name: "expressions", edits: []func(tokentest.Object){
			mapping(tokentest.Object{"expression": "claims.sub + '@' + claims.tenant"}, "username"),
			mapping(tokentest.Object{"expression": "[claims.roles.a, claims.roles.b]"}, "groups"),
			mapping(tokentest.Object{"expression": "string(claims.oid)"}, "uid"),
			mapping([]tokentest.Object{{"key": "example.com/level", "valueExpression": "claims.nested.level"}}, "extra"),
		}, claims: issuertest.Claims{"sub": "alice", "tenant": "t", "roles": tokentest.Object{"a": "a", "b": "b"}, "oid": "42", "nested": tokentest.Object{"level": "high"}},
			want: &user.DefaultInfo{Name: "alice@t", UID: "42", Groups: []string{"a", "b"}, Extra: map[string][]string{"example.com/level": {"high"}}}},
		{name: "expression fails", edits: []func(tokentest.Object){mapping(tokentest.Object{"expression": "claims.missing"}, "username")},
			claims: issuertest.Claims{"sub": "alice"}, reason: "no such key: missing"},
		{name: "expression is no string", edits: []func(tokentest.Object){mapping(tokentest.Object{"expression": "claims.n"}, "username")},
			claims: issuertest.Claims{"n": 1}, reason: "must return a string"},
		{name: "required claim", edits: []func(tokentest.Object){rule("claimValidationRules", tokentest.Object{"claim": "hd", "requiredValue": "example.com"})},
			claims: issuertest.Claims{"sub": "alice", "hd": "example.com"}, want: &user.DefaultInfo{Name: "alice"}},
		{name: "required claim differs", edits: []func(tokentest.Object){rule("claimValidationRules", tokentest.Object{"claim": "hd", "requiredValue": "example.com"})},
			claims: issuertest.Claims{"sub": "alice", "hd": "evil.example"}, reason: "required claim hd value does not match"},
		{name: "claim rule", edits: []func(tokentest.Object){rule("claimValidationRules", tokentest.Object{"expression": "claims.exp - claims.iat <= 86400", "message": "tokens of a day at most"})},
			claims: issuertest.Claims{"sub": "alice"}, want: &user.DefaultInfo{Name: "alice"}},
		{name: "claim rule fails", edits: []func(tokentest.Object){rule("claimValidationRules", tokentest.Object{"expression": "claims.level > 3", "message": "level is too low"})},
			claims: issuertest.Claims{"sub": "alice", "level": 1}, reason: "level is too low"},
		{name: "user rule fails", edits: []func(tokentest.Object){rule("userValidationRules", tokentest.Object{"expression": "!user.username.startsWith('system:')", "message": "no system users"})},
			claims: issuertest.Claims{"sub": "system:admin"}, reason: "no system users"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := mustBuild(t, Config{Issuers: pool}, tokentest.SpecFor(s, tt.edits...))
			claims := issuertest.Claims{"aud": "app"}
			for k, v := range tt.claims {
				claims[k] = v
			}
			signed := s.Sign(claims)
			u, _, err := m.AuthenticateToken(context.Background(), token.Parse(signed))
			if tt.want == nil {
				if got := tokentest.OutcomeOf(u, err); got != tokentest.Refused {
					t.Fatalf("outcome %v of %v, %v", got, u, err)
				}
				checkReason(t, err, tt.reason, signed)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, u, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// An expression that would compute for ages ends by its cost, and admits nobody.
func TestCostlyExpressionsEnd(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	m := mustBuild(t, Config{}, tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": "dyn(claims.l).all(a, dyn(claims.l).all(b, dyn(claims.l).all(c, dyn(claims.l).all(d, a + b + c + d == 0.0)))) ? 'x' : 'y'"}, "claimMappings", "username")))
	u, _, err := m.AuthenticateToken(context.Background(), token.Parse(s.Sign(issuertest.Claims{"aud": "app", "l": make([]int, 100)})))
	if !errors.Is(err, expression.ErrBudget) {
		t.Errorf("got %v, %v", u, err)
	}
	if diff := cmp.Diff(0, len(m.Types)); diff != "" {
		t.Errorf("slots taken afterwards (-want +got):\n%s", diff)
	}
}

// What a token says about where claims are is never followed.
func TestDistributedClaimsAreNotFetched(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	asked := make(chan string, 10)
	trap := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	defer trap.Close()
	m := mustBuild(t, Config{}, tokentest.SpecFor(s, tokentest.With(tokentest.Object{"claim": "groups", "prefix": ""}, "claimMappings", "groups")))
	signed := s.Sign(issuertest.Claims{
		"sub": "alice", "aud": "app",
		"_claim_names":   tokentest.Object{"groups": "src"},
		"_claim_sources": tokentest.Object{"src": tokentest.Object{"endpoint": trap.URL + "/groups", "access_token": "hunter2"}},
	})
	_, _, err := m.AuthenticateToken(context.Background(), token.Parse(signed))
	if err == nil || !strings.Contains(err.Error(), "does not fetch") || strings.Contains(err.Error(), trap.URL) {
		t.Errorf("got %v", err)
	}
	if len(asked) > 0 {
		t.Errorf("asked for %s", <-asked)
	}
}

func TestJWTSpecsThatDoNotBuild(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	rules := func(n int, expression string) func(tokentest.Object) {
		var list []tokentest.Object
		for i := range n {
			list = append(list, tokentest.Object{"expression": fmt.Sprintf("%s || claims.n%d == 1", expression, i)})
		}
		return tokentest.With(list, "claimValidationRules")
	}
	entries := func(n int) string {
		return tokentest.JSON(tokentest.Object{"jwt": make([]tokentest.Object, n)})
	}
	for _, tt := range []struct{ name, spec, want string }{
		{"no JSON", "nonsense", "decode spec"},
		{"too large", tokentest.SpecFor(s, tokentest.With(strings.Repeat("x", MaxSpecBytes), "issuer", "certificateAuthority")), "131072"},
		{"too many entries", entries(MaxJWTs + 1), "17 entries"},
		{"too many expressions", tokentest.SpecFor(s, rules(MaxExpressions+1, "true")), "more than 32 CEL expressions"},
		{"expression too long", tokentest.SpecFor(s, rules(1, "'"+strings.Repeat("x", MaxExpressionBytes)+"' == ''")), "spec.jwt[0].claimValidationRules[0].expression has 8218 bytes, at most 8192"},
		{"service account issuer", tokentest.SpecFor(s, tokentest.With("https://kcp.default.svc", "issuer", "url")), "disallowed issuers"},
		{"password", tokentest.SpecFor(s, tokentest.With("https://me:hunter2@issuer.example", "issuer", "url")), "username or password"},
		{"http", tokentest.SpecFor(s, tokentest.With("http://issuer.example", "issuer", "url")), "https"},
		{"http discovery", tokentest.SpecFor(s, tokentest.With("http://issuer.example/d", "issuer", "discoveryURL")), "https"},
		{"discovery is the issuer", tokentest.SpecFor(s, tokentest.With(s.URL(), "issuer", "discoveryURL")), "discoveryURL must be different"},
		{"bad CA", tokentest.SpecFor(s, tokentest.With("nonsense", "issuer", "certificateAuthority")), "certificateAuthority"},
		{"no audience", tokentest.SpecFor(s, tokentest.With([]string{}, "issuer", "audiences")), "audiences"},
		{"no match policy", tokentest.SpecFor(s, tokentest.With([]string{"a", "b"}, "issuer", "audiences")), "audienceMatchPolicy"},
		{"no username", tokentest.SpecFor(s, tokentest.With(tokentest.Object{}, "claimMappings", "username")), "username"},
		{"no prefix", tokentest.SpecFor(s, tokentest.With(tokentest.Object{"claim": "sub"}, "claimMappings", "username")), "prefix"},
		{"bad expression", tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": "claims."}, "claimMappings", "username")), "spec.jwt[0].claimMappings.username.expression: does not parse: <input>:1:8: Syntax error"},
		{"the same issuer twice", strings.Replace(tokentest.SpecFor(s), `{"jwt":[`, `{"jwt":[`+strings.TrimSuffix(strings.TrimPrefix(tokentest.SpecFor(s), `{"jwt":[`), `]}`)+",", 1), "Duplicate value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := buildSpec(t, Config{DisallowedIssuers: []string{"https://kcp.default.svc"}}, tt.spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a password is in the error: %v", err)
			}
		})
	}
}

// TestSpecErrorsNameEveryFault: an owner learns of each fault with its field and
// its cause, however long the expressions are; the whole stays short.
func TestSpecErrorsNameEveryFault(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	long := "claims.email == '" + strings.Repeat("x", 3000) + "' && lowerAsci(claims.email) == ''"
	_, err := buildSpec(t, Config{}, tokentest.SpecFor(s,
		tokentest.With(tokentest.Object{"expression": long}, "claimMappings", "username"),
		tokentest.With(tokentest.Object{"expression": "claims.groups.filter(g, g != '')"}, "claimMappings", "groups"),
		tokentest.With(tokentest.Object{"expression": "url(claims.sub).getHost()"}, "claimMappings", "uid")))
	if err == nil {
		t.Fatal("it builds")
	}
	for _, want := range []string{
		"jwt[0].claimMappings.username.expression: ", "undeclared reference to 'lowerAsci'",
		"jwt[0].claimMappings.groups.expression: ", "cannot be range of a comprehension",
		"jwt[0].claimMappings.uid.expression: ", "url() is not supported here",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 1100 {
		t.Errorf("%d bytes: %v", len(err.Error()), err)
	}

	// More than fits is counted.
	var rules []tokentest.Object
	for n := range 30 {
		rules = append(rules, tokentest.Object{"expression": fmt.Sprintf("nothing%d == ''", n)})
	}
	_, err = buildSpec(t, Config{}, tokentest.SpecFor(s, tokentest.With(rules, "claimValidationRules")))
	if err == nil || !regexp.MustCompile(`; and [0-9]+ more$`).MatchString(err.Error()) || len(err.Error()) > 1100 {
		t.Errorf("got %v", err)
	}
}

// Evaluations of a type wait for each other, and not for ever.
func TestEvaluationsAreBounded(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	pool := tokentest.RunPool(t, issuer.Config{})
	cel := mustBuild(t, Config{Issuers: pool}, tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": "claims.sub"}, "claimMappings", "username")))
	plain := mustBuild(t, Config{Issuers: pool}, tokentest.SpecFor(s))
	plain.Types = cel.Types
	for range slotsOfType {
		cel.Types <- struct{}{}
	}
	signed := func(n int) token.Token {
		return token.Parse(s.Sign(issuertest.Claims{"sub": fmt.Sprint(n), "aud": "app"}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	waiting := make(chan error, 1)
	good, first := signed(0), signed(1)
	if _, _, err := plain.AuthenticateToken(ctx, good); err != nil {
		t.Fatalf("without expressions nobody waits: %v", err)
	}
	go func() {
		_, _, err := cel.AuthenticateToken(ctx, first)
		waiting <- err
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, token.ErrUndecided) {
		t.Errorf("got %v, want undecided", err)
	}
	<-cel.Types
	if _, _, err := cel.AuthenticateToken(context.Background(), first); err != nil {
		t.Errorf("with a slot free: %v", err)
	}
	if diff := cmp.Diff(slotsOfType-1, len(cel.Types)); diff != "" {
		t.Errorf("slots taken (-want +got):\n%s", diff)
	}
}

func TestUndecidedWhileTheIssuerIsDown(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	s.SetDown(true)
	m := mustBuild(t, Config{}, tokentest.SpecFor(s))
	for name, tt := range map[string]struct {
		claims issuertest.Claims
		want   tokentest.Outcome
	}{
		"good":    {issuertest.Claims{"aud": "app", "sub": "alice"}, tokentest.Undecided},
		"expired": {issuertest.Claims{"aud": "app", "sub": "alice", "exp": 1}, tokentest.Refused},
	} {
		u, _, err := m.AuthenticateToken(context.Background(), token.Parse(s.Sign(tt.claims)))
		if diff := cmp.Diff(tt.want, tokentest.OutcomeOf(u, err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s%v", name, diff, err)
		}
	}
}

// Upstream's global metrics would keep a series for each issuer ever named.
func TestNoSeriesPerIssuer(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	m := mustBuild(t, Config{}, tokentest.SpecFor(s))
	if _, _, err := m.AuthenticateToken(context.Background(), token.Parse(s.Sign(issuertest.Claims{"aud": "app", "sub": "alice"}))); err != nil {
		t.Fatal(err)
	}
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if strings.Contains(family.GetName(), "jwt_authenticator") && len(family.GetMetric()) > 0 {
			t.Errorf("%s has %d series", family.GetName(), len(family.GetMetric()))
		}
	}
}

func FuzzParseJWTSpec(f *testing.F) {
	f.Add([]byte(`{"jwt":[{"issuer":{"url":"https://a","audiences":["a"]},"claimMappings":{"username":{"claim":"sub","prefix":""}}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		spec, err := ParseSpec(raw)
		if err != nil {
			return
		}
		again, err := ParseSpec(raw)
		if err != nil || spec.Sum != again.Sum {
			t.Errorf("not the same twice: %v", err)
		}
	})
}

// A token found good is not looked at again for a while; one that was refused
// is; and the keys' change ends what was verified under the old ones.
func TestVerifiedTokensAreCached(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	clock := clocktesting.NewFakeClock(time.Now())
	pool := tokentest.RunPool(t, issuer.Config{Clock: clock})
	m := mustBuild(t, Config{Issuers: pool, Clock: clock}, tokentest.SpecFor(s))
	<-m.issuer.Ready()
	ask := func(raw string) (user.Info, error) {
		u, _, err := m.AuthenticateToken(context.Background(), token.Parse(raw))
		return u, err
	}
	good := s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})
	first, err := ask(good)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ask(good); err != nil || again != first {
		t.Errorf("not the same identity again: %v, %v", again, err)
	}
	clock.Step(token.CacheLife)
	if later, err := ask(good); err != nil || later == first {
		t.Errorf("still the same identity after %s: %v", token.CacheLife, err)
	}
	forged := good[:len(good)-6] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, good[len(good)-6:])
	for range 2 {
		if _, err := ask(forged); err == nil {
			t.Fatal("a forged token is accepted")
		}
	}
	if diff := cmp.Diff(1, m.cache.Len()); diff != "" {
		t.Errorf("cached (-want +got):\n%s", diff)
	}

	// The issuer withdraws the key: another token with an unknown kid makes the
	// keys be read, and the cached one is worth nothing from then on.
	s.Rotate()
	clock.Step(jwks.RefetchEvery - time.Second)
	if _, err := ask(good); err != nil {
		t.Fatalf("before the keys are read: %v", err)
	}
	clock.Step(time.Second)
	if _, err := ask(s.Sign(issuertest.Claims{"sub": "bob", "aud": "app"})); err != nil {
		t.Fatalf("new key: %v", err)
	}
	if _, err := ask(good); err == nil {
		t.Error("a token of the withdrawn key is accepted")
	}
}

func BenchmarkCachedToken(b *testing.B) {
	s := issuertest.Serve(b, issuertest.Options{})
	m := mustBuild(b, Config{}, tokentest.SpecFor(s))
	groups := make([]string, 30)
	for i := range groups {
		groups[i] = fmt.Sprintf("group-%d", i)
	}
	signed := token.Parse(s.Sign(issuertest.Claims{"sub": "alice", "aud": "app", "groups": groups}))
	ctx := context.Background()
	<-m.issuer.Ready()
	for range 2 {
		if _, _, err := m.AuthenticateToken(ctx, signed); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if u, _, err := m.AuthenticateToken(ctx, signed); err != nil || u == nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFreshToken(b *testing.B) {
	s := issuertest.Serve(b, issuertest.Options{})
	for name, forged := range map[string]bool{"good": false, "forged": true} {
		b.Run(name, func(b *testing.B) {
			m := mustBuild(b, Config{}, tokentest.SpecFor(s))
			raw := s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})
			if forged {
				raw = raw[:len(raw)-8] + "AAAAAAAA"
			}
			signed, ctx := token.Parse(raw), context.Background()
			<-m.issuer.Ready()
			b.ReportAllocs()
			for b.Loop() {
				m.cache.Sweep(time.Now().Add(token.CacheLife))
				if _, _, err := m.AuthenticateToken(ctx, signed); err != nil != forged {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTokenOfManyGroups: it is refused, and nothing is remembered of it; one of
// an issuer that is generous is not.
func TestTokenOfManyGroups(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	m := mustBuild(t, Config{}, tokentest.SpecFor(s, tokentest.With(tokentest.Object{"claim": "groups", "prefix": ""}, "claimMappings", "groups")))
	<-m.issuer.Ready()
	ask := func(groups int) (user.Info, error) {
		u, _, err := m.AuthenticateToken(t.Context(), token.Parse(s.Sign(issuertest.Claims{"sub": "alice", "aud": "app", "groups": authntest.Names(groups, 4)})))
		return u, err
	}
	if u, err := ask(1024); err != nil || len(u.GetGroups()) != 1024 {
		t.Fatalf("1,024 groups: %v", err)
	}
	if u, err := ask(1025); u != nil || err == nil || !strings.Contains(err.Error(), "1025 groups") {
		t.Errorf("1,025 groups: %v", err)
	}
	if diff := cmp.Diff(1, m.cache.Len()); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
}
