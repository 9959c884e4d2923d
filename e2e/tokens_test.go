package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// Tokens that must not be accepted, and never for long: a good one works after
// each.
func TestBadTokensAreRefused(t *testing.T) {
	t.Parallel()
	issuer, stranger := newIssuer(t), newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuer))
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	good := token(issuer, "ada@example.com")
	eventuallyIn(t, env.Token(good), ws.Path)

	with := func(name string, value any) issuertest.Claims {
		c := claims("ada@example.com")
		c[name] = value
		return c
	}
	ordinary := claims("ada@example.com")
	now := time.Now()
	bearer := func(token string) []string { return []string{"Bearer " + token} }
	for _, c := range []struct {
		name          string
		authorization []string
	}{
		{"expired", bearer(issuer.Sign(with("exp", now.Add(-time.Minute).Unix())))},
		{"without expiry", bearer(issuer.Sign(with("exp", nil)))},
		{"not yet valid", bearer(issuer.Sign(with("nbf", now.Add(time.Hour).Unix())))},
		{"wrong audience", bearer(issuer.Sign(with("aud", "another")))},
		{"no audience", bearer(issuer.Sign(with("aud", nil)))},
		{"wrong issuer in the claim", bearer(issuer.Sign(with("iss", "https://issuer.example")))},
		{"no issuer", bearer(issuer.Sign(with("iss", nil)))},
		{"another issuer's token", bearer(token(stranger, "ada@example.com"))},
		{"another issuer's key", bearer(issuer.Sign(ordinary, issuertest.KeyOf(stranger)))},
		{"alg none", bearer(issuer.Sign(ordinary, issuertest.Unsigned()))},
		{"HS256 with the public key", bearer(issuer.Sign(ordinary, issuertest.PublicKeyAsSecret()))},
		{"unknown kid", bearer(issuer.Sign(ordinary, issuertest.KeyOf(stranger), issuertest.KeyID("nobody's")))},
		{"without the user's claim", bearer(issuer.Sign(with("email", nil)))},
		{"email not verified", bearer(issuer.Sign(with("email_verified", false)))},
		{"claims are no object", bearer(issuer.Sign(nil, issuertest.Payload([]byte(`["iss"]`))))},
		{"signature cut off", bearer(good[:strings.LastIndexByte(good, '.')+1])},
		{"payload changed", bearer(changePayload(good))},
		{"garbage", bearer("garbage")},
		{"garbage with dots", bearer("a.b.c")},
		{"empty", bearer("")},
		{"no bearer", []string{"Basic YTpi"}},
		{"two Authorization headers", []string{"Bearer garbage", "Bearer " + good}},
		{"two good ones", []string{"Bearer " + good, "Bearer " + good}},
		{"nothing", nil},
	} {
		for _, protocol := range protocols() {
			header := http.Header{}
			for _, a := range c.authorization {
				header.Add("Authorization", a)
			}
			answer := whoami(t, protocol, ws.Path, header)
			if answer.status != http.StatusUnauthorized {
				t.Errorf("%s over %s: %s, want 401 (logs: %s)", c.name, protocol, answer, env.Logs())
			}
		}
		wantIdentity(t, env.Token(good), ws.Path, identity(ws, "oidc:ada@example.com"))
	}
}

// A megabyte of token is refused like any bad token.
func TestHugeTokenIsRefused(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuer))
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	good := token(issuer, "ada@example.com")
	eventuallyIn(t, env.Token(good), ws.Path)
	for _, size := range []int{100 << 10, 900 << 10, 1 << 20} {
		big := claims("ada@example.com")
		big["filler"] = strings.Repeat("x", size*3/4) // base64 makes it the size
		for _, protocol := range protocols() {
			answer := whoami(t, protocol, ws.Path, http.Header{"Authorization": {"Bearer " + issuer.Sign(big)}})
			if answer.status != http.StatusUnauthorized {
				t.Errorf("a token of %d bytes over %s: %s, want 401", size, protocol, answer)
			}
		}
		wantIdentity(t, env.Token(good), ws.Path, identity(ws, "oidc:ada@example.com"))
	}
}

// changePayload flips a character of the claims under the old signature.
func changePayload(token string) string {
	parts := strings.Split(token, ".")
	b := []byte(parts[1])
	if b[len(b)/2]++; b[len(b)/2] > 'y' || b[len(b)/2] < 'b' {
		b[len(b)/2] = 'b'
	}
	return parts[0] + "." + string(b) + "." + parts[2]
}

// After a rotation the new key's tokens are taken, and the old key's no longer
// once it is not published.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	old := token(issuer, "ada@example.com")
	eventuallyIn(t, env.Token(old), ws.Path)

	issuer.RotateKeeping()
	fresh := token(issuer, "ada@example.com")
	eventuallyIn(t, env.Token(fresh), ws.Path)
	wantStatus(t, env.Token(old), ws.Path, http.StatusCreated) // still published

	issuer.Rotate()
	newest := token(issuer, "ada@example.com")
	eventuallyIn(t, env.Token(newest), ws.Path)
	// What was verified may be remembered for ten seconds.
	eventuallyStatus(t, env.Token(old), ws.Path, http.StatusUnauthorized)
	eventuallyStatus(t, env.Token(fresh), ws.Path, http.StatusUnauthorized)
	wantStatus(t, env.Token(newest), ws.Path, http.StatusCreated)
}

// An issuer that was never there is "cannot tell", not "no"; its users get in
// once it is there. Others do not suffer.
func TestIssuerDownSinceTheStart(t *testing.T) {
	t.Parallel()
	down, up := newIssuer(t), newIssuer(t)
	down.SetDown(true)
	o := newOrg(t, shardOne)
	o.configure("down", trust(down))
	o.configure("up", trust(up))
	ws := o.workspace("team", o.kind("team", "down", "up"), shardOne)
	bob := env.Token(token(up, "bob@example.com"))
	eventuallyIn(t, bob, ws.Path)

	jwt := token(down, "ada@example.com")
	for range 3 {
		answer := whoami(t, "h2", ws.Path, http.Header{"Authorization": {"Bearer " + jwt}})
		if answer.status != http.StatusServiceUnavailable || answer.header.Get("Retry-After") == "" {
			t.Errorf("issuer down: %s, Retry-After %q; want 503 and one", answer, answer.header.Get("Retry-After"))
		}
	}
	wantStatus(t, bob, ws.Path, http.StatusCreated)
	wantStatus(t, env.Token("garbage"), ws.Path, http.StatusUnauthorized) // nobody's: decided

	down.SetDown(false)
	eventuallyIn(t, env.Token(jwt), ws.Path)
	wantIdentity(t, env.Token(jwt), ws.Path, identity(ws, "oidc:ada@example.com"))

	// Known keys outlive the issuer.
	down.SetDown(true)
	wantStatus(t, env.Token(token(down, "ada@example.com")), ws.Path, http.StatusCreated)
}
