package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	authenticationv1 "k8s.io/api/authentication/v1"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// around are spellings of a name that a sloppy reader takes for the name.
func around(name string) []string {
	return []string{
		name, " " + name, name + " ", "\t" + name, name + "\t", "\n" + name, name + "\r\n", "\r" + name, name + "\v", "\f" + name,
		"\x00" + name, name + "\x7f", "\u00a0" + name, name + "\u2003", "\u0085" + name,
		strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:],
	}
}

// A tenant's issuer may claim anything. What a shard reads is never a system
// user, a system group other than system:authenticated, or a scope that is not
// the workspace's.
func TestClaimsNeverBecomeSystemIdentities(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("bare", trustWith(issuer, "")) // no prefix keeps claims apart
	ws := o.workspace("team", o.kind("team", "bare"), shardOne)
	eventuallyIn(t, env.Token(token(issuer, "ada")), ws.Path)

	type claimed struct {
		user   string
		groups []string
	}
	var all []claimed
	for _, name := range []string{"system:admin", "system:kcp:admin", "system:serviceaccount:default:default", "system:apiserver"} {
		for _, user := range around(name) {
			all = append(all, claimed{user: user})
		}
	}
	for _, name := range []string{"system:masters", "system:kcp:admin", "system:kcp:logical-cluster-admin", "system:unauthenticated"} {
		for _, group := range around(name) {
			all = append(all, claimed{user: "ada", groups: []string{"developers", group}})
		}
	}
	all = append(all, claimed{user: ""}, claimed{user: " "}, claimed{user: "ada", groups: []string{""}}, claimed{user: "ada", groups: []string{" ", "developers"}})

	for _, c := range all {
		bearer := http.Header{"Authorization": {"Bearer " + token(issuer, c.user, c.groups...)}}
		for _, protocol := range protocols() {
			answer := whoami(t, protocol, ws.Path, bearer)
			switch answer.status {
			case http.StatusUnauthorized:
			case http.StatusCreated:
				harmless(t, c.user, c.groups, ws, answer.user(t))
			default:
				t.Errorf("user %q, groups %q over %s: %s, want 401 or 201", c.user, c.groups, protocol, answer)
			}
		}
		_, nonce, status := upgrade(t, ws.Path, bearer)
		if status == http.StatusSwitchingProtocols {
			harmless(t, c.user, c.groups, ws, auditedUser(t, shardOne, nonce))
		} else if status != http.StatusUnauthorized {
			t.Errorf("user %q, groups %q, upgrade: status %d, want 101 or 401", c.user, c.groups, status)
		}
	}
}

// harmless judges what the shard read, as strictly as a sloppy reader would.
func harmless(t *testing.T, user string, groups []string, ws harness.Workspace, got authenticationv1.UserInfo) {
	t.Helper()
	if plainly(got.Username) == "" || strings.HasPrefix(plainly(got.Username), "system:") {
		t.Errorf("user %q, groups %q: the shard reads user %q", user, groups, got.Username)
	}
	for _, g := range got.Groups {
		if p := plainly(g); g != "system:authenticated" && (p == "" || strings.HasPrefix(p, "system:")) {
			t.Errorf("user %q, groups %q: the shard reads group %q", user, groups, g)
		}
	}
	want := identity(ws, "").Extra
	for key, values := range got.Extra {
		if strings.Contains(strings.ToLower(key), "kcp.io") && !slices.Equal(values, want[key]) {
			t.Errorf("user %q, groups %q: the shard reads extra %s=%q", user, groups, key, values)
		}
	}
	for key := range want {
		if len(got.Extra[key]) == 0 {
			t.Errorf("user %q, groups %q: the shard reads no extra %s", user, groups, key)
		}
	}
}

// plainly is s without anything a reader may drop, in lower case.
func plainly(s string) string {
	return strings.ToLower(strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }))
}

// Extras of kcp's domain are removed, others arrive.
func TestExtrasOfKCPAreRemoved(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	jwt := trust(issuer)
	for _, key := range []string{
		"authentication.kcp.io/scopes", "authentication.kcp.io/cluster-name", "authorization.kcp.io/warrant", "kcp.io/any", "sub.kcp.io.example.com/x",
	} {
		jwt.ClaimMappings.Extra = append(jwt.ClaimMappings.Extra, tenancyv1alpha1.ExtraMapping{Key: key, ValueExpression: "'cluster:root'"})
	}
	jwt.ClaimMappings.Extra = append(jwt.ClaimMappings.Extra, tenancyv1alpha1.ExtraMapping{Key: "example.com/team", ValueExpression: "claims.team"})
	o.configure("a", jwt)
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	claims := claims("ada@example.com")
	claims["team"] = []string{"blue", "green with spaces", "ümläut", `"}]%2f\`}
	ada := env.Token(issuer.Sign(claims))
	eventuallyIn(t, ada, ws.Path)
	want := identity(ws, "oidc:ada@example.com")
	want.Extra["example.com/team"] = []string{"blue", "green with spaces", "ümläut", `"}]%2f\`}
	wantIdentity(t, ada, ws.Path, want)
}

// A configuration with an extra key that is not lower case is broken, as in
// Kubernetes: its users cannot be judged, and others get in as before.
func TestExtraKeysInUpperCase(t *testing.T) {
	t.Parallel()
	bad, good := newIssuer(t), newIssuer(t)
	o := newOrg(t, harness.RootShard)
	jwt := trust(bad)
	jwt.ClaimMappings.Extra = []tenancyv1alpha1.ExtraMapping{{Key: "Authentication.KCP.io/Scopes", ValueExpression: "'cluster:root'"}}
	o.configure("bad", jwt)
	o.configure("good", trust(good))
	ws := o.workspace("team", o.kind("team", "bad", "good"), shardOne)
	eventuallyIn(t, env.Token(token(good, "bob@example.com")), ws.Path)
	wantIdentity(t, env.Token(token(good, "bob@example.com")), ws.Path, identity(ws, "oidc:bob@example.com"))
	wantStatus(t, env.Token(token(bad, "ada@example.com")), ws.Path, http.StatusServiceUnavailable)
}

// A tenant's expressions are free to compute names; the guard judges the result.
func TestComputedNames(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	jwt := trust(issuer)
	jwt.ClaimMappings.Username = tenancyv1alpha1.PrefixedClaimOrExpression{Expression: "'sys' + 'tem:' + claims.who"}
	jwt.ClaimMappings.Groups = tenancyv1alpha1.PrefixedClaimOrExpression{Expression: "['system:masters', 'plain']"}
	o.configure("user", jwt)
	jwt.ClaimMappings.Username = tenancyv1alpha1.PrefixedClaimOrExpression{Expression: "'x:' + claims.who"}
	o.configure("groups", jwt)
	wsUser := o.workspace("user", o.kind("type-user", "user"), shardOne)
	wsGroups := o.workspace("groups", o.kind("type-groups", "groups"), harness.RootShard)
	ada := env.Token(issuer.Sign(issuertest.Claims{"aud": audience, "who": "admin"}))
	eventuallyIn(t, ada, wsGroups.Path)
	wantIdentity(t, ada, wsGroups.Path, identity(wsGroups, "x:admin", "plain"))
	eventuallyStatus(t, ada, wsUser.Path, http.StatusUnauthorized)
}
