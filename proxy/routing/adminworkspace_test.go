package routing

import (
	"errors"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/routing/routingtest"
)

// TestAdminWorkspace: which paths go to a shard, and as what.
func TestAdminWorkspace(t *testing.T) {
	const services = "- path: /services/\n  backend: https://vw.example/base" + routingtest.TLSEntry
	shard := &shards.Shard{Name: "a", BaseURL: parse(t, "https://a.example:6443/prefix/")}
	files := routingtest.NewFiles(t)
	admin := func(path, atAPI string) resolved {
		return resolved{destination.VirtualWorkspace, destination.Trusted, "/services/admin", "a", "", "a.example:6443", "/prefix", path, atAPI, 0, true}
	}
	backend := func(pattern, cluster, path, atAPI string) resolved {
		return resolved{destination.Backend, destination.Trusted, pattern, "", cluster, "vw.example", "/base", path, atAPI, 0, true}
	}
	const list = "/services/admin/apis/core.kcp.io/v1alpha1/shards"
	for _, tt := range []struct {
		name, mapping, path string
		want                resolved
		err                 error
	}{
		{"the list of shards", services, list, admin(list, "/apis/core.kcp.io/v1alpha1/shards"), nil},
		{"without an entry for services", "", list, admin(list, "/apis/core.kcp.io/v1alpha1/shards"), nil},
		{"the workspace itself", services, "/services/admin", admin("/services/admin", ""), nil},
		{"spelt otherwise", services, "/services/%61dmin/api", admin("/services/%61dmin/api", "/api"), nil},
		{"a cluster, which does not count", services, "/services/admin/clusters/root:ws/api", admin("/services/admin/clusters/root:ws/api", "/api"), nil},
		{"all clusters", services, "/services/admin/clusters/*/api", admin("/services/admin/clusters/*/api", "/api"), nil},
		{"an entry of its own", services + "- path: /services/admin\n  backend: https://vw.example/base" + routingtest.TLSEntry, list, backend("/services/admin", "", list, list), nil},
		{"an entry below it", "- path: /services/admin/apis\n  backend: https://vw.example/base" + routingtest.TLSEntry, list, backend("/services/admin/apis", "", list, list), nil},
		{"an entry elsewhere below it", "- path: /services/admin/x\n  backend: https://vw.example/base" + routingtest.TLSEntry, list, admin(list, "/apis/core.kcp.io/v1alpha1/shards"), nil},
		{"an entry with a placeholder", "- path: /services/{name}\n  backend: https://vw.example/base" + routingtest.TLSEntry, list, admin(list, "/apis/core.kcp.io/v1alpha1/shards"), nil},
		{"another name", services, "/services/administrator/clusters/root:ws/api", backend("/services/", "root:ws", "/services/administrator/clusters/root:ws/api", "/api"), nil},
		{"behind an encoded slash", services, "/services/admin%2Fapis", resolved{Kind: destination.Backend, Exposure: destination.Trusted, Pattern: "/services/", Path: "/services/admin%2Fapis", AtAPI: "/services/admin%2Fapis", Carried: true}, lookup.ErrAmbiguous},
		{"out by dots", services, "/services/admin/../x", resolved{Kind: destination.Backend, Exposure: destination.Trusted, Pattern: "/services/admin", Path: "/services/admin/../x", AtAPI: "/services/admin/../x", Carried: true}, lookup.ErrAmbiguous},
	} {
		t.Run(tt.name, func(t *testing.T) {
			router, err := New(Config{
				Mappings: mappings(t, files, routingtest.ShardsMapping+tt.mapping),
				Index:    table{"root:ws": index.Target{Cluster: "2kd9", Shard: shard}},
				Shards:   func() []*shards.Shard { return []*shards.Shard{shard} },
			})
			if err != nil {
				t.Fatal(err)
			}
			d, err := router.Resolve(httptest.NewRequest("GET", "/", nil), tt.path)
			if !errors.Is(err, tt.err) {
				t.Fatalf("Resolve: %v, want %v", err, tt.err)
			}
			if d.Kind == destination.VirtualWorkspace && d.Target != (index.Target{}) {
				t.Errorf("the identity is tied to %+v", d.Target)
			}
			if tt.err != nil {
				d.APIPath = tt.path // the request's, which is another here
			}
			got := resolved{d.Kind, d.Exposure, d.Pattern, d.Shard, d.ClusterPath, "", d.Prefix, d.Path, d.APIPath, len(d.Mounts), d.Transport != nil}
			if d.Base != nil {
				got.Host = d.Base.Host
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestAdminWorkspaceShards: healthy shards take turns; others get nothing.
func TestAdminWorkspaceShards(t *testing.T) {
	all := map[string]*shards.Shard{}
	for name, virtual := range map[string]string{"a": "", "b": "https://vw-b.example:6444", "c": "", "d": "https://kcp.example/shards/other/"} {
		all[name] = &shards.Shard{Name: name, BaseURL: parse(t, "https://"+name+".example")}
		if virtual != "" {
			all[name].VirtualWorkspaceURL = parse(t, virtual)
		}
	}
	files := routingtest.NewFiles(t)
	for _, tt := range []struct {
		name, listed, failing string
		want                  []string // hosts, in turns; nil: 503
	}{
		{name: "all", listed: "abc", want: []string{"a.example", "c.example", "vw-b.example:6444"}},
		{name: "one whose watches fail", listed: "abc", failing: "a", want: []string{"c.example", "vw-b.example:6444"}},
		{name: "one that leads to another's route", listed: "ad", want: []string{"a.example"}},
		{name: "all fail", listed: "abc", failing: "abc"},
		{name: "none is known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			router, err := New(Config{
				Mappings: mappings(t, files, routingtest.ShardsMapping), Index: table{},
				Shards: func() (listed []*shards.Shard) {
					for _, name := range tt.listed {
						listed = append(listed, all[string(name)])
					}
					return listed
				},
				ShardFailingSince: func(name string) (since time.Time) {
					if len(tt.failing) > 0 && strings.Contains(tt.failing, name) {
						since = time.Unix(1, 0)
					}
					return since
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			hosts := map[string]int{}
			for range 3 * max(1, len(tt.want)) {
				d, err := router.Resolve(httptest.NewRequest("GET", "/", nil), "/services/admin/api")
				var nowhere *destination.Error
				if tt.want == nil && (!errors.As(err, &nowhere) || nowhere.Reason != destination.NoShard) || tt.want != nil && err != nil {
					t.Fatalf("Resolve: %v", err)
				}
				if err == nil {
					hosts[d.Base.Host]++
				}
			}
			if diff := cmp.Diff(tt.want, slices.Sorted(maps.Keys(hosts)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("hosts (-want +got):\n%s", diff)
			}
			if tt.listed == "abc" && tt.failing == "" {
				if diff := cmp.Diff(map[string]int{"a.example": 3, "c.example": 3, "vw-b.example:6444": 3}, hosts); diff != "" {
					t.Errorf("turns (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestNoAdminWorkspace: without an identity of the proxy's for shards, or without shards,
// the path is the mapping file's.
func TestNoAdminWorkspace(t *testing.T) {
	const services = "- path: /services/\n  backend: https://vw.example" + routingtest.TLSEntry
	files := routingtest.NewFiles(t)
	listed := func() []*shards.Shard {
		return []*shards.Shard{{Name: "a", BaseURL: &url.URL{Scheme: "https", Host: "a.example"}}}
	}
	for name, config := range map[string]Config{
		"no entry for clusters":             {Mappings: mappings(t, files, services), Shards: listed},
		"shards authenticate by themselves": {Mappings: mappings(t, files, services+"- path: /clusters/\n  authentication: pass-through"+routingtest.TLSEntry), Index: table{}, Shards: listed},
		"no shards":                         {Mappings: mappings(t, files, services+routingtest.ShardsMapping), Index: table{}},
	} {
		t.Run(name, func(t *testing.T) {
			router, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			d, err := router.Resolve(httptest.NewRequest("GET", "/", nil), "/services/admin/api")
			if err != nil || d.Kind != destination.Backend || d.Base.Host != "vw.example" {
				t.Errorf("goes to %+v, %v", d, err)
			}
		})
	}
}
