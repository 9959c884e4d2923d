package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/index/shards"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// servicesWorld has shards shard-1 and shard-10 with embedded virtual
// workspaces, and shard-2 whose virtual workspaces have a server of their own.
func servicesWorld(t *testing.T) (w *world, servers map[string]*standIn) {
	t.Helper()
	w = newWorld(t)
	servers = map[string]*standIn{}
	for _, name := range []string{"shard-1", "shard-10", "shard-2", "shard-3", "separate"} {
		servers[name] = w.shard(t, name, true, nil)
	}
	set := func(name, virtual string) {
		s := *servers[name].Shard
		s.VirtualWorkspaceURL = mustURL(t, virtual)
		servers[name].Shard = &s
	}
	set("shard-1", "https://kcp.example.com/shards/shard-1/")
	set("shard-10", "https://other.example.com:8443/shards/shard-10")
	set("shard-3", "https://kcp.example.com/shards/shard-3/")
	set("shard-2", servers["separate"].URL+"/virtual/")
	w.index["exporter"] = index.Target{Cluster: "exporter", Shard: servers["shard-10"].Shard, Type: index.Type{Name: "team", Cluster: "root"}}
	w.index["consumer"] = index.Target{Cluster: "consumer", Shard: servers["shard-1"].Shard, Type: index.Type{Name: "other", Cluster: "root"}}
	w.index["mounted"] = index.Target{Mount: mustURL(t, servers["shard-2"].URL)}
	w.config.Routing.ShardServers = map[string]*url.URL{"shard-3": mustURL(t, servers["separate"].URL+"/of-3/")}
	w.config.Routing.ShardServices = func(name string) (*shards.Shard, error) {
		switch s := servers[name]; {
		case name == "unread":
			return nil, index.ErrNotSynced
		case s == nil || name == "separate":
			return nil, index.ErrUnknown
		default:
			return s.Shard, nil
		}
	}
	return w, servers
}

func TestShardServices(t *testing.T) {
	t.Parallel()
	const export = "/services/apiexport/exporter/widgets"
	for name, tc := range map[string]struct {
		path string
		code int
		to   string // server
		uri  string
		// cluster and kind are what Decide was asked about.
		cluster, kind string
	}{
		"embedded":                       {"/shards/shard-1" + export + "/clusters/*/apis/x", 200, "shard-1", export + "/clusters/*/apis/x", "exporter", "team"},
		"a name that begins alike":       {"/shards/shard-10" + export + "/clusters/*/apis/x", 200, "shard-10", export + "/clusters/*/apis/x", "exporter", "team"},
		"a server of their own":          {"/shards/shard-2" + export + "/clusters/*/apis/x", 200, "separate", "/virtual" + export + "/clusters/*/apis/x", "exporter", "team"},
		"a server named by the operator": {"/shards/shard-3" + export + "/clusters/*/apis/x", 200, "separate", "/of-3" + export + "/clusters/*/apis/x", "exporter", "team"},
		"one cluster through an export":  {"/shards/shard-1" + export + "/clusters/consumer/apis/x", 200, "shard-1", export + "/clusters/consumer/apis/x", "exporter", "team"},
		"the export itself":              {"/shards/shard-1" + export, 200, "shard-1", export, "exporter", "team"},
		"another virtual workspace":      {"/shards/shard-1/services/initializingworkspaces/root:x/clusters/*/apis/x", 200, "shard-1", "/services/initializingworkspaces/root:x/clusters/*/apis/x", "", ""},
		"of one cluster":                 {"/shards/shard-1/services/replication/c/e/clusters/consumer/x", 200, "shard-1", "/services/replication/c/e/clusters/consumer/x", "consumer", "other"},
		"a URL that ended in a slash":    {"/shards/shard-1//services/x/clusters/*/y", 200, "shard-1", "/services/x/clusters/*/y", "", ""},
		"bytes stay":                     {"/shards/shard-1/services/x/clusters/*/a%2Fb//c?q=%20&r", 200, "shard-1", "/services/x/clusters/*/a%2Fb//c?q=%20&r", "", ""},
		"an export spelt in another way": {"/shards/shard-1/services/%61piexport/exporter/widgets/clusters/consumer/x", 200, "shard-1", "/services/%61piexport/exporter/widgets/clusters/consumer/x", "exporter", "team"},
		"an export behind %2F":           {"/shards/shard-1/services/apiexport%2Fexporter/widgets/clusters/consumer/x", 400, "", "", "", ""},
		"an export's owner behind %2F":   {"/shards/shard-1/services/apiexport/exporter%2Fwidgets/x/clusters/consumer/x", 400, "", "", "", ""},
		"unknown shard":                  {"/shards/shard-11" + export, 403, "", "", "", ""},
		"shard not known yet":            {"/shards/unread" + export, 503, "", "", "", ""},
		"unknown cluster":                {"/shards/shard-1/services/apiexport/nobody/widgets/clusters/*/x", 403, "", "", "", ""},
		"a mount":                        {"/shards/shard-1/services/apiexport/mounted/widgets/clusters/*/x", 403, "", "", "", ""},
		"not below services":             {"/shards/shard-1/clusters/root/api", 404, "", "", "", ""},
		"services as a prefix":           {"/shards/shard-1/servicesx/api", 404, "", "", "", ""},
		"the shard alone":                {"/shards/shard-1", 404, "", "", "", ""},
		"services spelt otherwise":       {"/shards/shard-1/%73ervices/x", 404, "", "", "", ""},
		"two slashes elsewhere":          {"/shards//shard-1/services/x", 400, "", "", "", ""},
		"three slashes":                  {"/shards/shard-1///services/x", 404, "", "", "", ""},
		"out by dots":                    {"/shards/shard-1/services/../clusters/root/api", 400, "", "", "", ""},
		"out by encoded dots":            {"/shards/shard-1/services/%2e%2e/clusters/root/api", 400, "", "", "", ""},
		"out by dots at the end":         {"/shards/shard-1/services/x/clusters/*/a/..", 400, "", "", "", ""},
		"out by an encoded slash":        {"/shards/shard-1/services/x/clusters/*/a%2f..%2fb", 400, "", "", "", ""},
		"dots as the shard":              {"/shards/../services/x", 400, "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, servers := servicesWorld(t)
			var asked []authn.Request
			w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
				asked = append(asked, r)
				return &authn.Decision{User: alice, Status: 200, Authenticator: "token"}
			}
			f := w.front(t)
			res, err := f.raw(t, "GET "+tc.path+" HTTP/1.1\r\nHost: kcp\r\nAuthorization: Bearer secret\r\nX-Remote-User: eve\r\nConnection: close\r\n\r\n")
			if res.StatusCode != tc.code {
				t.Fatalf("answers %d, want %d: %s", res.StatusCode, tc.code, err)
			}
			for name, s := range servers {
				all := s.take()
				if name != tc.to && len(all) > 0 || name == tc.to && len(all) != 1 {
					t.Errorf("%s has seen %+v", name, all)
				}
				if name == tc.to && len(all) == 1 && (all[0].URI != tc.uri || all[0].User.Name != "alice" || all[0].Header.Get("Authorization") != "" || all[0].Certificate != "front-proxy") {
					t.Errorf("%s has seen %+v", name, all[0])
				}
			}
			if tc.to == "" {
				return
			}
			if len(asked) != 1 || asked[0].Target.Cluster != tc.cluster || asked[0].Target.Type.Name != tc.kind || asked[0].ShardRoute != strings.Split(tc.path, "/")[2] {
				t.Errorf("decided about %+v, want cluster %q of type %q", asked, tc.cluster, tc.kind)
			}
		})
	}
}

// TestShardRouteDuringAMove: two shards claim the cluster that kcp copies from one to the
// other. Where the path says which shard is asked, the request goes on with an unknown
// type, which package authn takes for undecided. Everywhere else the answer is 503.
func TestShardRouteDuringAMove(t *testing.T) {
	const dump = "/services/migratingworkspaces/clusters/moving/apis/migration.kcp.io/v1alpha1/logicalclusterdumps"
	for name, tc := range map[string]struct {
		path string
		code int
	}{
		"the dump":                           {"/shards/shard-1" + dump, 200},
		"an export whose owner moves":        {"/shards/shard-1/services/apiexport/moving/widgets/clusters/*/x", 200},
		"a path that ends at it":             {"/shards/shard-1/services/x/clusters/root:moving/y", 200},
		"a path through another that moves":  {"/shards/shard-1/services/x/clusters/root:moving:below/y", 503},
		"the cluster itself":                 {"/clusters/moving/api", 503},
		"a mount that leads to the route":    {"/clusters/mounting/x", 503},
		"an unknown cluster":                 {"/shards/shard-1/services/x/clusters/nobody/y", 403},
		"a shard that is not known":          {"/shards/unread" + dump, 503},
		"a shard that does not exist":        {"/shards/gone" + dump, 403},
		"dots after the cluster":             {"/shards/shard-1/services/x/clusters/moving/../consumer/y", 400},
		"another cluster behind an encoding": {"/shards/shard-1/services/x/clusters/moving%2F..%2Fconsumer/y", 400},
	} {
		t.Run(name, func(t *testing.T) {
			w, servers := servicesWorld(t)
			moving := func() (index.Target, error) { return index.Target{Cluster: "moving"}, index.ErrConflict }
			w.index["moving"], w.index["root:moving"], w.index["root:moving:below"] = moving, moving, index.ErrConflict
			w.index["mounting"] = index.Target{Mount: mustURL(t, servers["shard-2"].URL+"/shards/shard-1/services/x/clusters/moving")}
			w.config.Routing.Shards = func() []*shards.Shard { return []*shards.Shard{servers["shard-2"].Shard} }
			var asked []index.Target
			w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
				if r.ShardRoute != "shard-1" {
					t.Errorf("decided about the route of shard %q", r.ShardRoute)
				}
				asked = append(asked, r.Target)
				return &authn.Decision{User: alice, Status: 200, Authenticator: "certificate"}
			}
			f := w.front(t)
			res, body := f.raw(t, "GET "+tc.path+" HTTP/1.1\r\nHost: kcp\r\nConnection: close\r\n\r\n")
			if res.StatusCode != tc.code {
				t.Fatalf("answers %d, want %d: %s", res.StatusCode, tc.code, body)
			}
			reached := 0
			for _, s := range servers {
				reached += len(s.take())
			}
			if tc.code != 200 {
				if reached != 0 || len(asked) != 0 {
					t.Errorf("%d requests arrived, decided about %+v", reached, asked)
				}
				return
			}
			want := index.Target{Cluster: "moving", Type: index.Type{Err: index.ErrConflict}}
			if diff := cmp.Diff([]index.Target{want}, asked, cmpopts.EquateErrors()); diff != "" || reached != 1 {
				t.Errorf("%d requests arrived; decided about (-want +got):\n%s", reached, diff)
			}
		})
	}
}

func TestShardServicesOff(t *testing.T) {
	w, servers := servicesWorld(t)
	w.config.Routing.ShardServices = nil
	f := w.front(t)
	if res, body := do(t, f.client(t, true), "GET", f.URL+"/shards/shard-1/services/x", nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("answers %d: %s", res.StatusCode, body)
	}
	if seen := servers["shard-1"].take(); len(seen) > 0 {
		t.Errorf("the shard has seen %+v", seen)
	}
}
