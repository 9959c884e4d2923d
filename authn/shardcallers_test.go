package authn

import (
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/clientcert"
	"frontproxy/authn/identity"
	"frontproxy/index"
	"frontproxy/internal/certstest"
)

// TestCertificateOfBothCAs: shards that have one certificate for all are listed as
// client and as caller. Their CA is then in both bundles, which allowed names
// permit. With headers the request is the caller's, never the shard's own.
func TestCertificateOfBothCAs(t *testing.T) {
	both := certstest.New(t, "both")
	at := func(shard string) Request { return Request{ShardRoute: shard} }
	workspace := Request{Target: index.Target{Cluster: "c1"}}
	caller := http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": {"devs"}, "X-Remote-Extra-Authentication.kcp.io%2fscopes": {"cluster:c1"}}
	for name, tc := range map[string]struct {
		allowed []string
		at      Request
		header  http.Header
		want    user.Info // nil: refused
		by      string
		reason  string
	}{
		"as a caller": {[]string{"proxy"}, at("shard-1"), caller,
			&user.DefaultInfo{Name: "alice", Groups: []string{"devs"}, Extra: map[string][]string{identity.ScopesKey: {"cluster:c1"}}}, clientcert.ByShardCaller, ""},
		"without headers": {[]string{"proxy"}, at("shard-1"), http.Header{},
			&user.DefaultInfo{Name: "shard", Groups: []string{"system:authenticated", "system:masters"}}, clientcert.ByClientCertificate, ""},
		"at another shard":            {[]string{"proxy"}, at("shard-10"), caller, nil, "", "of its own shard"},
		"in a workspace":              {[]string{"proxy"}, workspace, caller, nil, "", "of its own shard"},
		"in a workspace, as a client": {[]string{"proxy"}, workspace, http.Header{}, &user.DefaultInfo{Name: "shard", Groups: []string{"system:authenticated"}}, clientcert.ByClientCertificate, ""},
		"a group that is dropped":     {[]string{"proxy"}, at("shard-1"), http.Header{"X-Remote-User": {"alice"}, "X-Remote-Group": {"secret"}}, nil, "", "--authentication-drop-groups"},
		// The bundles overlap without allowed names: by a rotation, after the start.
		"the bundles have come to overlap": {nil, at("shard-1"), caller, nil, "", "verifies against --client-ca-file too"},
	} {
		t.Run(name, func(t *testing.T) {
			clients := certstest.New(t, "users")
			a, err := New(Config{
				ClientCAs: clients, DropGroups: []string{"system:masters", "secret"},
				RequestHeader: &clientcert.RequestHeader{CAs: both, AllowedNames: tc.allowed, UsernameHeaders: []string{"X-Remote-User"}},
				ShardClients:  []clientcert.ShardClient{{CommonName: "shard"}}, ShardCallers: []clientcert.ShardCaller{{CommonName: "shard", Shard: "shard-1"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			clients.Pool = both.Pool
			r := tc.at
			r.Header, r.Certificates = tc.header, []*x509.Certificate{both.Client(t, time.Hour, "shard", "system:masters")}
			d := a.Decide(t.Context(), r)
			if tc.want == nil {
				if d.User != nil || d.Status != http.StatusUnauthorized || !strings.Contains(d.Verdicts[0].Reason, tc.reason) {
					t.Errorf("decides %+v, want 401 because of %q", d, tc.reason)
				}
				return
			}
			if d.User == nil || d.Authenticator != tc.by || (d.AssertedBy == "shard") != (tc.by == clientcert.ByShardCaller) {
				t.Fatalf("decides %+v, want %v", d, tc.want)
			}
			got := d.User.(*user.DefaultInfo)
			delete(got.Extra, user.CredentialIDKey)
			if diff := cmp.Diff(tc.want, user.Info(got), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRecheckShardCaller: a caller's watch ends when its shard's certificate is
// trusted no more, and not before.
func TestRecheckShardCaller(t *testing.T) {
	proxies := certstest.New(t, "proxies")
	a, err := New(Config{RequestHeader: &clientcert.RequestHeader{CAs: proxies, UsernameHeaders: []string{"X-Remote-User"}}, ShardCallers: []clientcert.ShardCaller{{CommonName: "shard", Shard: "shard-1"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Certificates: []*x509.Certificate{proxies.Client(t, time.Hour, "shard")}, Header: http.Header{"X-Remote-User": {"alice"}}, ShardRoute: "shard-1"}
	d := a.Decide(t.Context(), r)
	if ended := a.Recheck(t.Context(), r, d); d.User == nil || ended != nil {
		t.Fatalf("decides %+v, then %+v", d, ended)
	}
	proxies.Pool = certstest.New(t, "others").Pool
	if ended := a.Recheck(t.Context(), r, d); ended == nil {
		t.Error("it goes on though the CA is trusted no more")
	}
	expired := *d
	expired.ExpiresAt = time.Now().Add(-time.Minute)
	if ended := a.Recheck(t.Context(), r, &expired); ended == nil {
		t.Error("it goes on after the certificate's end though the CA is trusted no more")
	}
}
