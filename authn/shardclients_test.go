package authn

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/clientcert"
	"frontproxy/index"
	"frontproxy/internal/certstest"
)

func TestShardClientsKeepGroupsAtVirtualWorkspacesOnly(t *testing.T) {
	users, strangers := certstest.New(t, "users"), certstest.New(t, "strangers")
	shard, other, workspace := Request{ShardRoute: "shard-1"}, Request{ShardRoute: "shard-10"}, Request{Target: index.Target{Cluster: "root"}}
	for name, tc := range map[string]struct {
		ca   *certstest.CA
		cn   string
		at   Request
		want []string // nil: refused
	}{
		"at virtual workspaces":         {users, "shard-a", shard, []string{"system:authenticated", "system:masters"}},
		"elsewhere":                     {users, "shard-a", workspace, []string{"system:authenticated"}},
		"for one shard, there":          {users, "shard-b", shard, []string{"system:authenticated", "system:masters"}},
		"for one shard, at another's":   {users, "shard-b", other, []string{"system:authenticated"}},
		"for one shard, elsewhere":      {users, "shard-b", workspace, []string{"system:authenticated"}},
		"for every shard":               {users, "shard-a", other, []string{"system:authenticated", "system:masters"}},
		"another client":                {users, "shard-admin", shard, []string{"system:authenticated"}},
		"a name that begins alike":      {users, "shard-a1", shard, []string{"system:authenticated"}},
		"a certificate of another's CA": {strangers, "shard-a", shard, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := New(Config{ClientCAs: users, DropGroups: []string{"system:masters"}, ShardClients: []clientcert.ShardClient{{CommonName: "shard-a"}, {CommonName: "shard-b", Shard: "shard-1"}}})
			if err != nil {
				t.Fatal(err)
			}
			cert := tc.ca.Client(t, time.Hour, tc.cn, "system:masters")
			r := tc.at
			r.Certificates = []*x509.Certificate{cert}
			for range 2 { // the second time it is remembered
				d := a.Decide(t.Context(), r)
				if (d.User == nil) != (tc.want == nil) {
					t.Fatalf("decides %+v", d)
				}
				if d.User == nil {
					continue
				}
				if diff := cmp.Diff(tc.want, d.User.GetGroups()); diff != "" || d.User.GetName() != tc.cn {
					t.Errorf("%s has groups (-want +got):\n%s", d.User.GetName(), diff)
				}
			}
		})
	}
}
