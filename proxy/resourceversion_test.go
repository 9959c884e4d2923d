package proxy

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/storage"

	"frontproxy/index"
)

// TestRefusesVersionsOfAnotherShard: what lists or watches from a version below the one at which
// the cluster settled on its shard is 410, everything else is forwarded.
func TestRefusesVersionsOfAnotherShard(t *testing.T) {
	t.Parallel()
	token := func(version int64) string {
		s, err := storage.EncodeContinue("/registry/x/a", "/registry/x/", version)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, tc := range map[string]struct {
		path string
		want int
	}{
		"a list from before":              {"/clusters/root:ws/api/v1/pods?resourceVersion=99", 410},
		"a watch from before":             {"/clusters/2kd9/api/v1/pods?watch=1&resourceVersion=99", 410},
		"a streamed list from before":     {"/clusters/root:ws/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersion=99", 410},
		"a page from before":              {"/clusters/root:ws/api/v1/pods?limit=9&continue=" + token(99), 410},
		"a mount of it":                   {"/clusters/mounting/api/v1/pods?resourceVersion=99", 410},
		"the version when it settled":     {"/clusters/root:ws/api/v1/pods?resourceVersion=100", 200},
		"a page of a later version":       {"/clusters/root:ws/api/v1/pods?limit=9&continue=" + token(101), 200},
		"the newest state":                {"/clusters/root:ws/api/v1/pods?resourceVersion=", 200},
		"any state":                       {"/clusters/root:ws/api/v1/pods?resourceVersion=0", 200},
		"one object":                      {"/clusters/root:ws/api/v1/pods/a?resourceVersion=99", 200},
		"another cluster":                 {"/clusters/other/api/v1/pods?resourceVersion=99", 200},
		"a conflict, from any version":    {"/clusters/moving/api/v1/pods?watch=1&resourceVersion=1000", 410},
		"a conflict, any state":           {"/clusters/moving/api/v1/pods?watch=1&resourceVersion=0", 503},
		"a conflict, one object":          {"/clusters/moving/api/v1/pods/a?resourceVersion=1000", 503},
		"a conflict above it on the path": {"/clusters/moving:below/api/v1/pods?watch=1&resourceVersion=1000", 503},
	} {
		t.Run(name, func(t *testing.T) {
			w, moves := newWorld(t), newFakeMoves()
			shard := w.shard(t, "new", true, func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("limit") == "1" {
					_, _ = io.WriteString(rw, `{"metadata":{"resourceVersion":"100"}}`)
				}
			})
			w.index["other"] = index.Target{Cluster: "other", Shard: shard.Shard}
			w.index["mounting"] = index.Target{Mount: mustURL(t, "https://front.example/clusters/root:ws")}
			w.index["moving"] = func() (index.Target, error) { return index.Target{Cluster: "moving"}, index.ErrConflict }
			w.index["moving:below"] = index.ErrConflict
			w.config.Routing.ExternalURLs = append(w.config.Routing.ExternalURLs, mustURL(t, "https://front.example"))
			moves.settled["2kd9 new"] = 100
			w.config.Moves = moves
			f := w.front(t)
			res, body := do(t, f.client(t, true), http.MethodGet, f.URL+tc.path, nil)
			if res.StatusCode != tc.want {
				t.Fatalf("answers %d, want %d: %s", res.StatusCode, tc.want, body)
			}
			all := slices.DeleteFunc(shard.take(), func(s seen) bool { return strings.Contains(s.URI, "limit=1") }) // package otherstores asks with this
			if (len(all) == 1) != (tc.want == 200) {
				t.Errorf("the shard has seen %+v", all)
			}
			if tc.want == 410 {
				if s := status(t, body); s.Reason != "Expired" || s.Code != 410 {
					t.Errorf("the Status is %+v", s)
				}
			}
		})
	}
}
