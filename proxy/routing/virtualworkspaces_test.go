package routing

import (
	"net/url"
	"strings"
	"testing"

	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/proxy/routing/routingtest"
)

// TestShardServicesRefuseLoops: a URL that leads to another shard's route
// could lead in a circle; one that leads back here is not followed.
func TestShardServicesRefuseLoops(t *testing.T) {
	base, external := parse(t, "https://10.0.0.1:6443"), parse(t, "https://kcp.example.com")
	for name, tc := range map[string]struct {
		virtual string
		want    string // "": refused
	}{
		"none":                      {"", "https://10.0.0.1:6443"},
		"back here":                 {"https://kcp.example.com/shards/a/", "https://10.0.0.1:6443"},
		"back here, no slash":       {"https://kcp.example.com/shards/a", "https://10.0.0.1:6443"},
		"back here by another name": {"https://kcp-internal:8443/prefix/shards/a/", "https://10.0.0.1:6443"},
		"another shard's":           {"https://kcp.example.com/shards/b/", ""},
		"the proxy itself":          {"https://kcp.example.com:443", "https://10.0.0.1:6443"},
		"the shard's own":           {"https://10.0.0.1:6443", "https://10.0.0.1:6443"},
		"a server of their own":     {"https://10.0.0.1:7443/vw", "https://10.0.0.1:7443/vw"},
	} {
		t.Run(name, func(t *testing.T) {
			shard := &shards.Shard{Name: "a", BaseURL: base, ExternalURL: external}
			if tc.virtual != "" {
				shard.VirtualWorkspaceURL = parse(t, tc.virtual)
			}
			s := &virtualWorkspaces{embedded: &Mapping{}, separate: &Mapping{}}
			u, _, ok := s.upstream(shard)
			if ok != (tc.want != "") || ok && u.String() != tc.want {
				t.Errorf("leads to %v, %v; want %q", u, ok, tc.want)
			}
		})
	}
}

func TestShardServicesNeedAMapping(t *testing.T) {
	for name, tc := range map[string]struct {
		mapping string
		want    string // part of the error; "": none
	}{
		"clusters":            {routingtest.ShardsMapping, ""},
		"services alone":      {"- path: /services/\n  backend: https://x.invalid" + routingtest.TLSEntry, ""},
		"neither":             {"- path: /other/\n  backend: https://x.invalid" + routingtest.TLSEntry, "needs an entry"},
		"passed through":      {"- path: /services/\n  backend: https://x.invalid\n  authentication: pass-through" + routingtest.TLSEntry, "needs an entry"},
		"shards has an entry": {routingtest.ShardsMapping + "- path: /shards/x\n  backend: https://x.invalid" + routingtest.TLSEntry, "remove the entry"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{
				Mappings: mappings(t, routingtest.NewFiles(t), tc.mapping), Index: nothing{},
				ShardServices: func(string) (*shards.Shard, error) { return nil, index.ErrUnknown },
			})
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("New: %v, want %q", err, tc.want)
			}
		})
	}
}

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
