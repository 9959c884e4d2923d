package destination

import (
	"net/url"
	"testing"
)

// TestNames: what clients and metrics see of each kind.
func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name         string
		to           Destination
		wantName     string
		wantKindName string
	}{
		{"shard", Destination{Kind: Shard, Shard: "a", Pattern: "/clusters/"}, `shard "a"`, "shard"},
		{"virtual workspace", Destination{Kind: VirtualWorkspace, Shard: "a", Pattern: "/shards/"}, `the virtual workspaces of shard "a"`, "shard"},
		{"backend", Destination{Kind: Backend, Pattern: "/services/"}, `the backend of "/services/"`, "backend"},
		{"mounted host", Destination{Kind: MountedHost, Pattern: "/clusters/"}, "the mount of the workspace", "mount"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.to.Name(); got != tt.wantName {
				t.Errorf("clients see %q, want %q", got, tt.wantName)
			}
			if got := tt.to.Kind.String(); got != tt.wantKindName {
				t.Errorf("metrics have %q, want %q", got, tt.wantKindName)
			}
		})
	}
}

// TestSetURLKeepsBytes: the path goes out as it came, and nobody is named in the URL.
func TestSetURLKeepsBytes(t *testing.T) {
	d := Destination{Base: &url.URL{Scheme: "https", Host: "shard:6443"}, Prefix: "/clusters/2kd9"}
	out := url.URL{Scheme: "http", Host: "front", User: url.User("u"), RawQuery: "x=%zz"}
	d.SetURL(&out, "/api/a%2Fb(c)")
	if want := "https:/clusters/2kd9/api/a%2Fb(c)?x=%zz"; out.String() != want || out.Host != "shard:6443" {
		t.Errorf("%q at %q, want %q", out.String(), out.Host, want)
	}
}
