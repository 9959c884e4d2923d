package routing

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/routing/routingtest"
)

// table is an index of a test.
type table map[string]index.Target

func (t table) Lookup(path string) (index.Target, error) {
	if target, ok := t[path]; ok {
		return target, nil
	}
	return index.Target{}, index.ErrUnknown
}

// resolved is what a test compares of a Destination.
type resolved struct {
	Kind                      destination.Kind
	Exposure                  destination.Exposure
	Pattern, Shard, Cluster   string
	Host, Prefix, Path, AtAPI string
	Mounts                    int
	Carried                   bool // there is a transport
}

// TestResolve: each kind of destination, and what is known when there is none.
func TestResolve(t *testing.T) {
	const mapping = routingtest.ShardsMapping +
		"- path: /services/\n  backend: https://vw.example/base" + routingtest.TLSEntry +
		"- path: /own/\n  backend: https://own.example\n  authentication: pass-through" + routingtest.TLSEntry
	shard := &shards.Shard{Name: "a", BaseURL: parse(t, "https://a.example:6443")}
	ws := index.Target{Cluster: "2kd9", Shard: shard}
	mount := func(to string) index.Target { return index.Target{Mount: parse(t, to)} }
	files := routingtest.NewFiles(t)
	lookups := 0
	router, err := New(Config{
		Mappings: mappings(t, files, mapping),
		Index: table{
			"root:ws": ws, "root:local": mount("https://kcp.example/clusters/root:ws"), "root:away": mount("https://away.example/base"),
			"root:circle": mount("https://kcp.example/clusters/root:circle"), "root:services": mount("https://kcp.example/services/x"),
		},
		Lookups:       func(index.Target, error) { lookups++ },
		ExternalURLs:  []*url.URL{parse(t, "https://kcp.example")},
		ShardServices: func(string) (*shards.Shard, error) { return shard, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	refused := func(reason destination.Reason) error { return &destination.Error{Reason: reason} }
	for _, tt := range []struct {
		name, path string
		want       resolved
		lookups    int
		err        error
	}{
		{"shard", "/clusters/root:ws/api/a%2Fb", resolved{destination.Shard, destination.Trusted, "/clusters/", "a", "root:ws", "a.example:6443", "/clusters/2kd9", "/api/a%2Fb", "/api/a%2Fb", 0, true}, 1, nil},
		{"backend", "/services/x/clusters/root:ws/api", resolved{destination.Backend, destination.Trusted, "/services/", "", "root:ws", "vw.example", "/base", "/services/x/clusters/root:ws/api", "/api", 0, true}, 1, nil},
		{"pass-through", "/own/x", resolved{destination.Backend, destination.PassThrough, "/own/", "", "", "own.example", "", "/own/x", "/own/x", 0, true}, 0, nil},
		{"virtual workspace", "/shards/a/services/x/clusters/root:ws/api", resolved{destination.VirtualWorkspace, destination.Trusted, "/shards/", "a", "root:ws", "a.example:6443", "", "/services/x/clusters/root:ws/api", "/api", 0, true}, 1, nil},
		{"mount of a workspace", "/clusters/root:local/api", resolved{destination.Shard, destination.Trusted, "/clusters/", "a", "root:ws", "a.example:6443", "/clusters/2kd9", "/api", "/api", 1, true}, 2, nil},
		{"mount of a backend", "/clusters/root:services/api", resolved{destination.Backend, destination.Trusted, "/services/", "", "", "vw.example", "/base", "/services/x/api", "/services/x/api", 1, true}, 1, nil},
		{"mount of a host, where none may be", "/clusters/root:away/api", resolved{destination.Shard, destination.Trusted, "/clusters/", "", "root:away", "", "", "/api", "/api", 1, true}, 1, refused(destination.MountRefused)},
		{"mount in a circle", "/clusters/root:circle/api", resolved{destination.Shard, destination.Trusted, "/clusters/", "", "root:circle", "", "", "/api", "/api", 4, true}, 4, refused(destination.MountLoop)},
		{"unknown", "/clusters/root:no/api", resolved{destination.Shard, destination.Trusted, "/clusters/", "", "root:no", "", "", "/api", "/api", 0, true}, 1, index.ErrUnknown},
		{"no cluster", "/clusters/Root/api", resolved{destination.Shard, destination.Trusted, "/clusters/", "", "Root", "", "", "/api", "/api", 0, true}, 1, lookup.ErrNotACluster},
		{"not mapped", "/other/a%2Fb", resolved{AtAPI: "/other/a/b"}, 0, refused(destination.NotMapped)},
		{"ambiguous", "//x", resolved{AtAPI: "//x"}, 0, lookup.ErrAmbiguous},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lookups = 0
			r := httptest.NewRequest("GET", "https://kcp.example"+tt.path, nil)
			d, err := router.Resolve(r, tt.path)
			var got, want *destination.Error
			switch {
			case errors.As(tt.err, &want):
				if !errors.As(err, &got) || got.Reason != want.Reason {
					t.Errorf("error %v, want reason %d", err, want.Reason)
				}
			case !errors.Is(err, tt.err):
				t.Errorf("error %v, want %v", err, tt.err)
			}
			have := resolved{Kind: d.Kind, Exposure: d.Exposure, Pattern: d.Pattern, Shard: d.Shard, Cluster: d.ClusterPath, Prefix: d.Prefix, Path: d.Path, AtAPI: d.APIPath, Mounts: len(d.Mounts), Carried: d.Transport != nil}
			if d.Base != nil {
				have.Host = d.Base.Host
			}
			if diff := cmp.Diff(tt.want, have); diff != "" {
				t.Errorf("destination (-want +got):\n%s", diff)
			}
			if lookups != tt.lookups {
				t.Errorf("%d lookups were told of, want %d", lookups, tt.lookups)
			}
		})
	}
}
