package authn

import (
	"crypto/x509"
	"net/http"
	"slices"
	"testing"
	"time"

	"frontproxy/authn/clientcert"
	"frontproxy/index"
	"frontproxy/internal/certstest"
)

// TestInfrastructure: a certificate is judged by its own groups, before the drop list, and by
// nothing that a request asserts.
func TestInfrastructure(t *testing.T) {
	users, proxies, strangers := certstest.New(t, "users"), certstest.New(t, "proxies"), certstest.New(t, "strangers")
	workspace, virtual := Request{Target: index.Target{Cluster: "c1"}}, Request{ShardRoute: "shard-1"}
	asserted := func(groups ...string) http.Header {
		return http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": groups}
	}
	for _, tt := range []struct {
		name   string
		cert   *x509.Certificate
		at     Request
		header http.Header
		admits bool
		// want is what the Decision says, early what the certificate alone does.
		want, early bool
	}{
		{"an administrator, whose group is dropped", users.Client(t, time.Hour, "admin", "system:masters"), workspace, nil, true, true, true},
		{"a user", users.Client(t, time.Hour, "alice", "developers"), workspace, nil, true, false, false},
		{"a group that begins alike", users.Client(t, time.Hour, "alice", "system:masters:not"), workspace, nil, true, false, false},
		{"a name like the group", users.Client(t, time.Hour, "system:masters"), workspace, nil, true, false, false},
		{"a group in another case", users.Client(t, time.Hour, "alice", "System:Masters"), workspace, nil, true, false, false},
		{"a stranger's certificate", strangers.Client(t, time.Hour, "admin", "system:masters"), workspace, nil, false, false, false},
		{"one without a name", users.Client(t, time.Hour, "", "system:masters"), workspace, nil, false, false, false},
		{"one that has expired", users.Client(t, -time.Hour, "admin", "system:masters"), workspace, nil, false, false, false},
		{"a shard", users.Client(t, time.Hour, "shard"), virtual, nil, true, true, true},
		{"a shard, elsewhere", users.Client(t, time.Hour, "shard"), workspace, nil, true, true, true},
		{"a stranger with a shard's name", strangers.Client(t, time.Hour, "shard"), virtual, nil, false, false, false},
		{"a shard that asserts its caller", proxies.Client(t, time.Hour, "caller"), virtual, asserted("dev"), true, true, true},
		{"a shard that asserts where it may not", proxies.Client(t, time.Hour, "caller"), workspace, asserted("dev"), false, false, true},
		{"a user's certificate with that name", users.Client(t, time.Hour, "caller"), virtual, nil, true, false, false},
		{"a proxy that asserts the group", proxies.Client(t, time.Hour, "proxy"), workspace, asserted("system:masters"), true, false, false},
		{"a proxy's own group", proxies.Client(t, time.Hour, "proxy", "system:masters"), workspace, asserted("dev"), true, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := New(Config{
				ClientCAs: users, DropGroups: []string{"system:masters"},
				RequestHeader: &clientcert.RequestHeader{CAs: proxies, AllowedNames: []string{"proxy"}, UsernameHeaders: []string{"X-Remote-User"}, GroupHeaders: []string{"X-Remote-Group"}},
				ShardClients:  []clientcert.ShardClient{{CommonName: "shard", Shard: "shard-1"}}, ShardCallers: []clientcert.ShardCaller{{CommonName: "caller", Shard: "shard-1"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			r := tt.at
			r.Header, r.Certificates = tt.header, []*x509.Certificate{tt.cert}
			for range 2 { // the second time it is remembered
				if got := a.Infrastructure(r.Certificates); got != tt.early {
					t.Errorf("the certificate alone: %v, want %v", got, tt.early)
				}
				d := a.Decide(t.Context(), r)
				if (d.User != nil) != tt.admits || d.Infrastructure != tt.want {
					t.Errorf("decides %+v, want admitted %v, infrastructure %v", d, tt.admits, tt.want)
				}
				if d.User != nil && slices.Contains(d.User.GetGroups(), "system:masters") && tt.at.ShardRoute == "" {
					t.Error("the group is forwarded")
				}
			}
			if a.Infrastructure(nil) {
				t.Error("no certificate is infrastructure")
			}
		})
	}
}
