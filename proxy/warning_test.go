package proxy

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/index/shards"
)

// TestWarnings: kubectl prints the Warning headers of what it is refused.
func TestWarnings(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w.shard(t, "shard-1", false, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Remote-User") != "" {
			rw.WriteHeader(http.StatusForbidden) // alice may not use the workspace
			return
		}
		_, _ = io.WriteString(rw, "ok")
	})
	there := w.index["root:ws"]
	down := w.shard(t, "shard-2", false, nil)
	down.Close()
	w.index["root:down"] = index.Target{Cluster: "3ab", Shard: down.Shard}
	late := w.shard(t, "shard-3", false, nil)
	late.Close()
	w.index["root:late"] = index.Target{Cluster: "4ab", Shard: late.Shard}
	w.index["root:ws"], w.index["2kd9"] = there, there
	w.index["root:mount"] = index.Target{Mount: mustURL(t, there.(index.Target).Shard.BaseURL.String()+"/clusters/2kd9")}
	w.config.Routing.Shards = func() []*shards.Shard { return []*shards.Shard{there.(index.Target).Shard} }
	w.config.Now = func() time.Time { return now }
	w.config.Routing.ShardFailingSince = func(shard string) time.Time {
		switch shard {
		case "shard-2":
			return now.Add(-167 * time.Second)
		case "shard-3":
			return now.Add(-3 * time.Second)
		}
		return time.Time{}
	}
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		switch r.Header.Get("Authorization") {
		case "":
			return &authn.Decision{PassThrough: true, Status: 200}
		case "Bearer good":
			return &authn.Decision{User: alice, Status: 200}
		}
		return &authn.Decision{Status: 401, ID: "i-1", Credential: authn.TokenCredential}
	}
	f := w.front(t)
	type answer struct {
		Code       int
		RetryAfter string
		Warnings   []string
	}
	noAccess := func(ws string) []string {
		return []string{`299 front-proxy "workspace \"` + ws + `\" does not exist, or you have no access to it"`}
	}
	for name, tt := range map[string]struct {
		path, token string
		want        answer
	}{
		"refused": {"/clusters/root:ws/api", "bad", answer{401, "", []string{
			`299 front-proxy "Unauthorized: the token was not accepted; log in again if it may have expired; an administrator can find out why by this id: i-1"`}}},
		"no such workspace":                {"/clusters/root:nope/api", "good", answer{403, "", noAccess("root:nope")}},
		"no such workspace, another path":  {"/clusters/root:nope/api/v1/pods", "good", answer{403, "", noAccess("root:nope")}},
		"a workspace that may not be used": {"/clusters/root:ws/api", "good", answer{403, "", noAccess("root:ws")}},
		"a mount of it":                    {"/clusters/root:mount/api", "good", answer{403, "", noAccess("root:mount")}},
		"the same, groups":                 {"/clusters/root:ws/apis", "good", answer{403, "", noAccess("root:ws")}},
		"a resource that may not be read":  {"/clusters/root:ws/api/v1/pods", "good", answer{403, "", nil}},
		"a shard that is down":             {"/clusters/root:late/api", "good", answer{503, "1", []string{`299 front-proxy "shard \"shard-3\" could not be reached; try again later"`}}},
		"a shard that has been down for long": {"/clusters/root:down/api", "good", answer{503, "", []string{
			`299 front-proxy "shard \"shard-2\" has not been reachable for 2m47s; tell whoever operates kcp, or try again later"`}}},
		"served": {"/clusters/root:ws/api", "", answer{200, "", nil}},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if tt.token != "" {
				header.Set("Authorization", "Bearer "+tt.token)
			}
			res, _ := do(t, f.client(t, false), "GET", f.URL+tt.path, header)
			got := answer{res.StatusCode, res.Header.Get("Retry-After"), res.Header.Values("Warning")}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}
