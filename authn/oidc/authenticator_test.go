package oidc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/internal/authntest"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/token"
	"frontproxy/internal/filewatch"
	"frontproxy/internal/polltest"
)

func newTest(t *testing.T, text string, change func(*Config)) (*Authenticator, string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "authn.yaml")
	authntest.WriteFile(t, file, text)
	c := Config{ConfigFile: file, DisallowedIssuers: []string{"https://kcp.default.svc"}}
	if change != nil {
		change(&c)
	}
	if c.Issuers == nil {
		c.Issuers = tokentest.RunPool(t, issuer.Config{})
	}
	o, err := New(c)
	return o, file, err
}

func TestAuthConfigVersions(t *testing.T) {
	one, two := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{Algorithm: jose.ES384})
	for _, version := range []string{"v1", "v1beta1", "v1alpha1"} {
		t.Run(version, func(t *testing.T) {
			o, _, err := newTest(t, tokentest.AuthConfig(version, one, two), nil)
			if err != nil {
				t.Fatal(err)
			}
			for n, s := range []*issuertest.Issuer{one, two} {
				u, err := tokentest.Ask(t, o, s.Sign(issuertest.Claims{"sub": "u", "aud": "app"}))
				if err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf("i%d:u", n); u.GetName() != want {
					t.Errorf("user %q, want %q", u.GetName(), want)
				}
			}
			want := []string{one.URL(), two.URL()}
			if want[0] > want[1] {
				want[0], want[1] = want[1], want[0]
			}
			if diff := cmp.Diff(want, o.Issuers()); diff != "" {
				t.Errorf("issuers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAuthConfigBlanks: what can match nothing, or has its users refused, is told
// when the file is read.
func TestAuthConfigBlanks(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	text := tokentest.AuthConfig("v1", s)
	text = text[:strings.Index(text, "  claimMappings:")] + "  claimMappings: {username: {claim: \"sub \", prefix: \" i:\"}, groups: {claim: roles, prefix: \"g: \"}}\n  claimValidationRules: [{claim: org, requiredValue: \"a\\u200b\"}]\n"
	text = strings.Replace(text, "[app]", `[app, " app"]
    audienceMatchPolicy: MatchAny`, 1)
	var logged []string
	if _, _, err := newTest(t, text, func(c *Config) {
		c.Log = funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{})
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`jwt[0].claimMappings.username.claim \"sub \" has leading or trailing white space: it matches only values with the same characters`,
		`jwt[0].claimMappings.username.prefix \" i:x\" has leading or trailing white space: users with such a name are refused (401)`,
		`jwt[0].claimValidationRules[0].requiredValue \"a\\u200b\" has an invisible character`,
		`jwt[0].issuer.audiences[1] \" app\" has leading or trailing white space`,
	}
	if len(logged) != len(want) {
		t.Fatalf("logs %q", logged)
	}
	for n := range want {
		if !strings.Contains(logged[n], want[n]) {
			t.Errorf("logs %s, want %s", logged[n], want[n])
		}
	}
}

func TestAuthConfigExpressions(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	text := tokentest.AuthConfig("v1", s)
	text = text[:strings.Index(text, "  claimMappings:")] + `  claimValidationRules:
  - {expression: 'claims.team == "x"', message: wrong team}
  claimMappings:
    username: {expression: '"c:" + claims.sub'}
    groups: {expression: 'claims.roles'}
    uid: {claim: sub}
    extra:
    - {key: example.com/team, valueExpression: claims.team}
  userValidationRules:
  - {expression: '!user.username.startsWith("c:root")', message: no root}
`
	o, _, err := newTest(t, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := tokentest.Ask(t, o, s.Sign(issuertest.Claims{"sub": "u", "aud": "app", "team": "x", "roles": []string{"dev"}}))
	if err != nil {
		t.Fatal(err)
	}
	want := &user.DefaultInfo{Name: "c:u", UID: "u", Groups: []string{"dev"}, Extra: map[string][]string{"example.com/team": {"x"}}}
	if diff := cmp.Diff(user.Info(want), u); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	for claim, text := range map[string]issuertest.Claims{
		"wrong team": {"sub": "u", "aud": "app", "team": "y", "roles": []string{}},
		"no root":    {"sub": "root", "aud": "app", "team": "x", "roles": []string{}},
	} {
		if _, err := tokentest.Ask(t, o, s.Sign(text)); err == nil || !strings.Contains(err.Error(), claim) {
			t.Errorf("error %v, want one with %q", err, claim)
		}
	}
}

func TestAuthConfigOutcomes(t *testing.T) {
	s, unknown := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	down := issuertest.Serve(t, issuertest.Options{})
	down.SetDown(true)
	o, _, err := newTest(t, tokentest.AuthConfig("v1", s, down), nil)
	if err != nil {
		t.Fatal(err)
	}
	claims := issuertest.Claims{"sub": "u", "aud": "app"}
	if u, err := tokentest.Ask(t, o, s.Sign(claims)); err != nil || u == nil {
		t.Errorf("%v, %v, want the user", u, err)
	}
	for name, tc := range map[string]struct {
		raw  string
		want tokentest.Outcome
	}{
		"issuer unknown":     {unknown.Sign(claims), tokentest.Skipped},
		"opaque":             {"opaque", tokentest.Skipped},
		"issuer is down":     {down.Sign(claims), tokentest.Undecided},
		"another's audience": {s.Sign(issuertest.Claims{"sub": "u", "aud": "other"}), tokentest.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			u, _, err := o.AuthenticateToken(t.Context(), token.Parse(tc.raw))
			got := tokentest.OutcomeOf(u, err)
			if got != tc.want {
				t.Errorf("outcome %v (%v), want %v", got, err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), tc.raw) || !strings.Contains(err.Error(), "jwt[")) {
				t.Errorf("the error holds the token, or does not name the entry: %v", err)
			}
		})
	}
}

// TestRefusalsAreCounted by reason, but not those that are only explained, and not what
// could not be decided.
func TestRefusalsAreCounted(t *testing.T) {
	s, stranger, down := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	down.SetDown(true)
	var counted []token.Reason
	text := tokentest.AuthConfig("v1", s, down)
	text = strings.Replace(text, "  claimMappings:", "  claimValidationRules: [{claim: team, requiredValue: x}]\n  claimMappings:", 1)
	o, _, err := newTest(t, text, func(c *Config) { c.Refused = func(r token.Reason) { counted = append(counted, r) } })
	if err != nil {
		t.Fatal(err)
	}
	claims := func(more issuertest.Claims) issuertest.Claims {
		all := issuertest.Claims{"sub": "u", "aud": "app", "team": "x"}
		maps.Copy(all, more)
		return all
	}
	now := time.Now()
	for name, tt := range map[string]struct {
		raw  string
		want []token.Reason
	}{
		"good":               {s.Sign(claims(nil)), nil},
		"another's":          {stranger.Sign(claims(nil)), nil},
		"issuer is down":     {down.Sign(claims(nil)), nil},
		"audience":           {s.Sign(claims(issuertest.Claims{"aud": "other"})), []token.Reason{token.ReasonAudience}},
		"expired":            {s.Sign(claims(issuertest.Claims{"exp": now.Add(-time.Hour).Unix()})), []token.Reason{token.ReasonExpired}},
		"of tomorrow":        {s.Sign(claims(issuertest.Claims{"nbf": now.Add(24 * time.Hour).Unix(), "exp": now.Add(48 * time.Hour).Unix()})), []token.Reason{token.ReasonNotYetValid}},
		"without an end":     {s.Sign(claims(issuertest.Claims{"exp": nil})), []token.Reason{token.ReasonMalformed}},
		"unknown key":        {s.Sign(claims(nil), issuertest.KeyOf(stranger), issuertest.KeyID("none")), []token.Reason{token.ReasonUnknownKey}},
		"signed by another":  {s.Sign(claims(nil), issuertest.KeyOf(stranger), issuertest.KeyID(s.KeyID())), []token.Reason{token.ReasonSignature}},
		"not signed":         {s.Sign(claims(nil), issuertest.Unsigned()), []token.Reason{token.ReasonSignature}},
		"a rule is not met":  {s.Sign(claims(issuertest.Claims{"team": "y"})), []token.Reason{token.ReasonClaims}},
		"no claim of a name": {s.Sign(issuertest.Claims{"aud": "app", "team": "x", "sub": nil}), []token.Reason{token.ReasonClaims}},
	} {
		t.Run(name, func(t *testing.T) {
			counted = nil
			asked := token.Parse(tt.raw)
			_, _, err := o.AuthenticateToken(t.Context(), asked)
			if diff := cmp.Diff(tt.want, counted); diff != "" {
				t.Errorf("reasons (-want +got), of the error %v:\n%s", err, diff)
			}
			counted, asked.Purpose = nil, token.ForExplanation
			if _, _, _ = o.AuthenticateToken(t.Context(), asked); counted != nil {
				t.Errorf("an explanation is counted as %v", counted)
			}
		})
	}
}

func TestAuthConfigErrors(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	entry := func(url string) string {
		return "- issuer: {url: '" + url + "', audiences: [app]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n"
	}
	for name, tc := range map[string]struct{ text, want string }{
		"empty":               {"", "empty"},
		"no YAML":             {"{{", ""},
		"unknown version":     {"apiVersion: apiserver.config.k8s.io/v9\nkind: AuthenticationConfiguration\n", "v9"},
		"another kind":        {"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n", ""},
		"unknown field":       {head + "jwts: []\n", "jwts"},
		"a field twice":       {head + "jwt: []\njwt: []\n", "jwt"},
		"plain http":          {head + "jwt:\n" + entry("http://x.example"), "https"},
		"no audience":         {head + "jwt:\n- issuer: {url: 'https://x.example'}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n", "audiences"},
		"an issuer twice":     {head + "jwt:\n" + entry("https://x.example") + entry("https://x.example"), "Duplicate"},
		"a disallowed issuer": {head + "jwt:\n" + entry("https://kcp.default.svc"), "https://kcp.default.svc"},
		"a broken expression": {head + "jwt:\n- issuer: {url: 'https://x.example', audiences: [app]}\n  claimMappings: {username: {expression: 'claims.'}}\n", "expression"},
		"an egress selector":  {head + "jwt:\n- issuer: {url: 'https://x.example', audiences: [app], egressSelectorType: cluster}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n", "egressSelectorType"},
	} {
		t.Run(name, func(t *testing.T) {
			_, file, err := newTest(t, tc.text, func(c *Config) { c.Issuers = issuer.NewPool(issuer.Config{}) })
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range []string{configFlag, file, tc.want} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not name %q: %v", part, err)
				}
			}
		})
	}
	if _, err := New(Config{ConfigFile: "/missing/file"}); err == nil || !strings.Contains(err.Error(), "/missing/file") {
		t.Errorf("error %v does not name the file", err)
	}
}

func TestAuthConfigWarnings(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	var lines []string
	_, _, err := newTest(t, tokentest.AuthConfig("v1", s)+"anonymous: {enabled: false}\n", func(c *Config) {
		c.Log = funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
		c.Flags = Flags{IssuerURL: "https://other.example", ClientID: "x"}
	})
	if err != nil {
		t.Fatal(err)
	}
	log := strings.Join(lines, "\n")
	for _, want := range []string{"--oidc-* has no effect", "anonymous"} {
		if !strings.Contains(log, want) {
			t.Errorf("no warning about %q in:\n%s", want, log)
		}
	}
}

func TestAuthConfigReload(t *testing.T) {
	one, two := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	claims := issuertest.Claims{"sub": "u", "aud": "app"}
	pool, clk := tokentest.RunPool(t, issuer.Config{}), clocktesting.NewFakeClock(time.Now())
	o, file, err := newTest(t, tokentest.AuthConfig("v1", one), func(c *Config) { c.Issuers, c.Clock = pool, clk })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokentest.Ask(t, o, one.Sign(claims)); err != nil {
		t.Fatal(err)
	}
	name := func(s *issuertest.Issuer) string {
		u, _, _ := o.AuthenticateToken(t.Context(), token.Parse(s.Sign(claims)))
		if u == nil {
			return ""
		}
		return u.GetName()
	}
	before := o.Get()
	if err := authntest.Settle(t, o.File, clk); err != nil || o.Get() != before {
		t.Errorf("an unchanged file is a change (%v)", err)
	}
	authntest.WriteFile(t, file, strings.Replace(tokentest.AuthConfig("v1", one), "audiences", "audience", 1))
	if err := authntest.Settle(t, o.File, clk); err == nil || o.LastError() == nil || name(one) != "i0:u" {
		t.Errorf("a bad file: error %v, user %q", err, name(one))
	}
	// Both, in another order: the new issuer works from the first request on, and
	// the terms of the old one have changed.
	authntest.WriteFile(t, file, tokentest.AuthConfig("v1", two, one))
	if err := authntest.Settle(t, o.File, clk); err != nil || o.LastError() != nil {
		t.Fatal(err)
	}
	if got := []string{name(one), name(two)}; got[0] != "i1:u" || got[1] != "i0:u" {
		t.Errorf("users %q", got)
	}
	authntest.WriteFile(t, file, tokentest.AuthConfig("v1", two))
	if err := authntest.Settle(t, o.File, clk); err != nil {
		t.Fatal(err)
	}
	if got := []string{name(one), name(two)}; got[0] != "" || got[1] != "i0:u" {
		t.Errorf("users %q: the removed issuer must be unknown", got)
	}
	if status := pool.Status(); len(status) != 1 || status[0].URL != two.URL() || status[0].Users != 1 {
		t.Errorf("issuers in use: %+v, want the second alone", status)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := authntest.Settle(t, o.File, clk); err == nil || name(two) != "i0:u" {
		t.Errorf("a missing file: error %v, user %q", err, name(two))
	}
}

// An issuer that is down does not hold up for good what else has changed.
func TestAuthConfigReloadWithIssuerDown(t *testing.T) {
	one, down := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	down.SetDown(true)
	clk := clocktesting.NewFakeClock(time.Now())
	o, file, err := newTest(t, tokentest.AuthConfig("v1", one), func(c *Config) { c.Clock = clk })
	if err != nil {
		t.Fatal(err)
	}
	authntest.WriteFile(t, file, tokentest.AuthConfig("v1", down))
	done := make(chan error)
	o.Check(t.Context())
	clk.Step(filewatch.Settle)
	go func() {
		o.Check(t.Context())
		done <- o.LastError()
	}()
	polltest.UntilState(t, "a wait for a timer", func() (bool, string) { return clk.HasWaiters(), "nobody waits" })
	if diff := cmp.Diff([]string{one.URL()}, o.Issuers()); diff != "" {
		t.Errorf("issuers while it waits (-want +got):\n%s", diff)
	}
	clk.Step(readyWait)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{down.URL()}, o.Issuers()); diff != "" {
		t.Errorf("issuers then (-want +got):\n%s", diff)
	}
	_, _, err = o.AuthenticateToken(t.Context(), token.Parse(down.Sign(issuertest.Claims{"sub": "u", "aud": "app", "exp": clk.Now().Add(time.Hour).Unix()})))
	if !errors.Is(err, token.ErrUndecided) {
		t.Errorf("error %v, want undecided", err)
	}
}

func TestAuthConfigRunFollows(t *testing.T) {
	one, two := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	o, file, err := newTest(t, tokentest.AuthConfig("v1", one), nil)
	if err != nil {
		t.Fatal(err)
	}
	authntest.Follow(t, o.Run, func() { authntest.WriteFile(t, file, tokentest.AuthConfig("v1", one, two)) }, func() bool { return len(o.Issuers()) == 2 })
}

func FuzzAuthConfig(f *testing.F) {
	f.Add("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'https://x.example', audiences: [app]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n")
	f.Add("apiVersion: apiserver.config.k8s.io/v1alpha1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true}\n")
	file := filepath.Join(f.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	o, err := New(Config{ConfigFile: file, Issuers: issuer.NewPool(issuer.Config{})})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if decoded, err := o.decode([]byte(text)); (decoded == nil) == (err == nil) {
			t.Error("neither a configuration nor an error, or both")
		}
	})
}

// TestScrapesWaitForNoReload: what is scraped does not wait while a reload waits for
// the keys of a new issuer.
func TestScrapesWaitForNoReload(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	s.SetDelay(time.Hour)
	clk := clocktesting.NewFakeClock(time.Now())
	o, file, err := newTest(t, tokentest.AuthConfig("v1", issuertest.Serve(t, issuertest.Options{})), func(c *Config) { c.Clock = clk })
	if err != nil {
		t.Fatal(err)
	}
	authntest.WriteFile(t, file, tokentest.AuthConfig("v1", s))
	reloaded := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer func() { cancel(); <-reloaded }()
	go func() {
		defer close(reloaded)
		o.Check(ctx)
		clk.Step(filewatch.Settle)
		o.Check(ctx) // waits for the keys
	}()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for range 1000 {
			_ = o.LastError()
			o.Issuers()
		}
	}()
	select {
	case <-answered:
	case <-time.After(30 * time.Second):
		t.Fatal("somebody waits")
	}
	select {
	case <-reloaded:
		t.Error("the reload is over: this tests nothing")
	default:
	}
}
