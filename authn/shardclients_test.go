package authn

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/clientcert"
	"frontproxy/authn/internal/authntest"
	"frontproxy/index"
	"frontproxy/index/shards"
)

func TestShardClientsKeepGroupsAtVirtualWorkspacesOnly(t *testing.T) {
	users, strangers := authntest.NewCA(t, "users"), authntest.NewCA(t, "strangers")
	shard := &index.Target{Services: &shards.Shard{Name: "shard-1"}}
	other := &index.Target{Services: &shards.Shard{Name: "shard-10"}}
	for name, tc := range map[string]struct {
		ca     *authntest.CA
		cn     string
		target *index.Target
		want   []string // nil: refused
	}{
		"at virtual workspaces":         {users, "shard-a", shard, []string{"system:authenticated", "system:masters"}},
		"elsewhere":                     {users, "shard-a", &index.Target{Cluster: "root"}, []string{"system:authenticated"}},
		"for one shard, there":          {users, "shard-b", shard, []string{"system:authenticated", "system:masters"}},
		"for one shard, at another's":   {users, "shard-b", other, []string{"system:authenticated"}},
		"for one shard, elsewhere":      {users, "shard-b", &index.Target{Cluster: "root"}, []string{"system:authenticated"}},
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
			r := &http.Request{Header: http.Header{}, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}}
			r.URL = &url.URL{Path: "/"}
			for range 2 { // the second time it is remembered
				d := a.Decide(r.Context(), requestOf(r, tc.target))
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
