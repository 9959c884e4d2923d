package across

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	tenancyv1alpha1 "github.com/kcp-dev/sdk/apis/tenancy/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

// TestWorkspaceUsersAtVirtualWorkspaces: users of the provider's workspace type
// reach what its APIExport has on every shard, and no one else's.
func TestWorkspaceUsersAtVirtualWorkspaces(t *testing.T) {
	t.Parallel()
	issuer, err := issuertest.New(issuertest.Options{})
	check(t, err)
	t.Cleanup(issuer.Close)
	org := workspace(t, shardOne)
	claim := func(name string) tenancyv1alpha1.PrefixedClaimOrExpression {
		prefix := "oidc:"
		return tenancyv1alpha1.PrefixedClaimOrExpression{Claim: name, Prefix: &prefix}
	}
	check(t, env.Admin().CreateAuthConfiguration(t.Context(), org.Path, "issuer", tenancyv1alpha1.JWTAuthenticator{
		Issuer:        tenancyv1alpha1.Issuer{URL: issuer.URL(), Audiences: []string{"e2e"}, CertificateAuthority: issuer.CAPEM()},
		ClaimMappings: tenancyv1alpha1.ClaimMappings{Username: claim("sub"), Groups: claim("groups")},
	}))
	check(t, env.Admin().CreateType(t.Context(), org.Path, "team", "issuer"))
	provider, err := env.Admin().CreateWorkspace(t.Context(), org.Path, "provider", harness.TypeRef{Path: org.Path, Name: "team"}, shardOne)
	check(t, err)
	stranger := workspace(t, shardOne) // of another type
	exportWidgets(t, stranger)
	exportWidgets(t, provider)
	for _, shard := range []string{shardOne, shardTen} {
		bindWidgets(t, workspace(t, shard), provider)
	}
	grant(t, provider, contentOfWidgets(), harness.User("oidc:ada"))
	ada := env.Token(issuer.Sign(issuertest.Claims{"sub": "ada", "aud": []string{"e2e"}}))
	eve := env.Token(issuer.Sign(issuertest.Claims{"sub": "eve", "aud": []string{"e2e"}}))
	for shard, url := range endpoints(t, provider) {
		client := at(t, ada, url+"/clusters/*").Resource(widgets)
		eventually(t, "ada's widget on "+shard, func(ctx context.Context) error {
			list, err := client.List(ctx, metav1.ListOptions{})
			if err == nil && (len(list.Items) != 1 || list.Items[0].GetName() != "of-"+shard) {
				err = fmt.Errorf("ada sees %d widgets", len(list.Items))
			}
			return err
		})
		_, err = at(t, eve, url+"/clusters/*").Resource(widgets).List(t.Context(), metav1.ListOptions{})
		wantStatus(t, "eve, who has no rights, on "+shard, err, http.StatusForbidden)
		foreign := env.Proxy.URL + "/shards/" + shard + "/services/apiexport/" + stranger.Cluster + "/widgets/clusters/*"
		_, err = at(t, ada, foreign).Resource(widgets).List(t.Context(), metav1.ListOptions{})
		wantStatus(t, "ada at an export of another type's workspace, on "+shard, err, http.StatusUnauthorized)
	}
}
