package e2e

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// Two tenants name the same issuer URL and fetch its keys from different
// places: neither's keys verify the other's tokens.
func TestSameIssuerURLDifferentDiscovery(t *testing.T) {
	t.Parallel()
	const name = "https://login.example.com/realm"
	first, second := named(t, name), named(t, name)
	firstWS := tenant(t, harness.RootShard, discoveredAt(first))
	secondWS := tenant(t, shardOne, discoveredAt(second))

	ofFirst, ofSecond := env.Token(token(first, "ada@example.com")), env.Token(token(second, "ada@example.com"))
	eventuallyIn(t, ofFirst, firstWS.Path)
	eventuallyIn(t, ofSecond, secondWS.Path)
	for range 2 { // the other order, and warm caches
		wantStatus(t, ofFirst, secondWS.Path, http.StatusUnauthorized)
		wantStatus(t, ofSecond, firstWS.Path, http.StatusUnauthorized)
		wantIdentity(t, ofFirst, firstWS.Path, identity(firstWS, "oidc:ada@example.com"))
		wantIdentity(t, ofSecond, secondWS.Path, identity(secondWS, "oidc:ada@example.com"))
	}
}

// Two tenants name the same issuer URL and trust it by different CAs: the one
// whose CA is wrong gets nobody in, however well the other's keys are known.
func TestSameIssuerURLDifferentCA(t *testing.T) {
	t.Parallel()
	issuer, stranger := newIssuer(t), newIssuer(t)
	rightWS := tenant(t, harness.RootShard, trust(issuer))
	wrong := trust(issuer)
	wrong.Issuer.CertificateAuthority = stranger.CAPEM()
	wrongWS := tenant(t, shardOne, wrong)

	ada := env.Token(token(issuer, "ada@example.com"))
	eventuallyIn(t, ada, rightWS.Path)
	eventuallyStatus(t, ada, wrongWS.Path, http.StatusServiceUnavailable) // its keys were never read
	wantIdentity(t, ada, rightWS.Path, identity(rightWS, "oidc:ada@example.com"))
	wantStatus(t, ada, wrongWS.Path, http.StatusServiceUnavailable)
}

// A tenant who claims root as its path and names a type like one of root's
// changes nothing for anyone else at the proxy. (kcp v0.31 itself then finds
// "multiple workspacetypes" and makes no more workspaces of root's type.)
func TestTenantClaimsRoot(t *testing.T) {
	t.Parallel()
	good, evil := newIssuer(t), newIssuer(t)
	admin := env.Admin()
	name := "e2e-" + strings.ToLower(rand.Text()[:10]) // in root, shared by all tests
	check(t, admin.CreateAuthConfiguration(t.Context(), "root", name, trust(good)))
	check(t, admin.CreateType(t.Context(), "root", name, name))
	victimOrg, tenantOrg := newOrg(t, harness.RootShard), newOrg(t, shardOne)
	victim := victimOrg.workspace("victim", harness.TypeRef{Path: "root", Name: name}, shardOne)
	ada, eve := env.Token(token(good, "ada@example.com")), env.Token(token(evil, "ada@example.com"))
	eventuallyIn(t, ada, victim.Path)

	// The tenant has every right in its own workspace, and uses them.
	tenantOrg.configure("own", trust(evil))
	own := tenantOrg.workspace("own", tenantOrg.kind("own", "own"), harness.RootShard)
	eventuallyIn(t, eve, own.Path)
	check(t, admin.Patch(t.Context(), tenantOrg.Cluster, harness.LogicalClusters, "cluster", `{"metadata":{"annotations":{"kcp.io/path":"root"}}}`))
	check(t, admin.CreateAuthConfiguration(t.Context(), tenantOrg.Cluster, name, trust(evil)))
	check(t, admin.CreateType(t.Context(), tenantOrg.Cluster, name, name))
	var claimed tenancyv1alpha1.WorkspaceType
	check(t, admin.Get(t.Context(), tenantOrg.Cluster, harness.WorkspaceTypes, name, &claimed))
	t.Logf("the tenant's type carries the path annotation %q", claimed.Annotations["kcp.io/path"])

	// A change that is made later is seen later: once this one has arrived, the
	// tenant's have too.
	marker := newIssuer(t)
	tenantOrg.configure("marker", trust(marker))
	check(t, admin.Patch(t.Context(), tenantOrg.Cluster, harness.WorkspaceTypes, "own", `{"spec":{"authenticationConfigurations":[{"name":"own"},{"name":"marker"}]}}`))
	eventuallyIn(t, env.Token(token(marker, "mark@example.com")), own.Path)

	wantStatus(t, eve, victim.Path, http.StatusUnauthorized)
	wantIdentity(t, ada, victim.Path, identity(victim, "oidc:ada@example.com"))
	wantStatus(t, eve, "root", http.StatusUnauthorized)
	wantStatus(t, admin, "root", http.StatusCreated)
	wantIdentity(t, eve, own.Path, identity(own, "oidc:ada@example.com")) // its own is as before
}

// A tenant rewrites the type annotation of its workspace's LogicalCluster: the
// workspace keeps the type it was made with.
func TestTenantRewritesItsType(t *testing.T) {
	t.Parallel()
	issuerA, issuerB := newIssuer(t), newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuerA))
	o.configure("b", trust(issuerB))
	kindA, kindB := o.kind("type-a", "a"), o.kind("type-b", "b")
	ws, other := o.workspace("mine", kindA, shardOne), o.workspace("other", kindB, shardOne)
	ada, bob := env.Token(token(issuerA, "ada@example.com")), env.Token(token(issuerB, "bob@example.com"))
	eventuallyIn(t, ada, ws.Path)
	eventuallyIn(t, bob, other.Path)

	for _, annotation := range []string{o.Path + ":type-b", o.Cluster + ":type-b", "root:universal"} {
		check(t, env.Admin().Patch(t.Context(), ws.Cluster, harness.LogicalClusters, "cluster",
			`{"metadata":{"annotations":{"internal.tenancy.kcp.io/type":"`+annotation+`"}}}`))
		// Seen once a workspace made later on the same shard is.
		marker := o.workspace("marker-"+strings.ToLower(rand.Text()[:6]), kindB, shardOne)
		eventuallyIn(t, bob, marker.Path)
		wantStatus(t, bob, ws.Path, http.StatusUnauthorized)
		wantIdentity(t, ada, ws.Path, identity(ws, "oidc:ada@example.com"))
	}
}

// named is an issuer that calls itself by a name it cannot be reached at.
func named(t *testing.T, name string) *issuertest.Issuer {
	t.Helper()
	issuer, err := issuertest.New(issuertest.Options{Name: name})
	check(t, err)
	t.Cleanup(issuer.Close)
	return issuer
}

// discoveredAt is trust for an issuer that is found by its discoveryURL.
func discoveredAt(issuer *issuertest.Issuer) tenancyv1alpha1.JWTAuthenticator {
	jwt := trust(issuer)
	jwt.Issuer.DiscoveryURL = issuer.DiscoveryURL()
	return jwt
}

// tenant is a workspace in an organization of its own, with its own type.
func tenant(t *testing.T, shard string, jwt tenancyv1alpha1.JWTAuthenticator) harness.Workspace {
	t.Helper()
	o := newOrg(t, shard)
	o.configure("own", jwt)
	return o.workspace("ws", o.kind("own", "own"), shard)
}
