package proxy

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// TestRejectedIdentitiesAreCounted: a shard that does not believe the proxy is told from one that
// refuses the user, and the client gets the shard's answer as it was.
func TestRejectedIdentitiesAreCounted(t *testing.T) {
	forbidden := func(who string) string {
		return `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods is forbidden: User \"` + who + `\" cannot list resource","reason":"Forbidden","code":403}`
	}
	for name, tt := range map[string]struct {
		code   int
		body   string
		header http.Header // of the request
		want   float64
	}{
		"unauthorized":                    {code: 401, body: `{"kind":"Status","code":401}`, want: 1},
		"nobody is forbidden":             {code: 403, body: forbidden("system:anonymous"), want: 1},
		"nobody, in protobuf":             {code: 403, body: "k8s\x00\x0aForbidden: User \"system:anonymous\" cannot", want: 1},
		"the user is forbidden":           {code: 403, body: forbidden("alice")},
		"a binding of nobody's":           {code: 403, body: `{"message":"clusterroles \"system:anonymous\" is forbidden: User \"alice\" cannot"}`},
		"acting for nobody":               {code: 403, body: forbidden("system:anonymous"), header: http.Header{"Impersonate-User": {"system:anonymous"}}},
		"a long refusal":                  {code: 403, body: forbidden("system:anonymous") + strings.Repeat(" ", maxRefusal)},
		"the object has a user's message": {code: 200, body: forbidden("system:anonymous")},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.shard(t, "shard-1", true, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Length", strconv.Itoa(len(tt.body)))
				rw.WriteHeader(tt.code)
				_, _ = io.WriteString(rw, tt.body)
			})
			f := w.front(t)
			res, body := do(t, f.client(t, true), "GET", f.URL+"/clusters/root:ws/api", tt.header)
			if res.StatusCode != tt.code || string(body) != tt.body {
				t.Errorf("%d %s", res.StatusCode, body)
			}
			if got := value(t, f.config.Metrics, `front_proxy_upstream_errors_total{reason="identity_rejected",shard="shard-1",upstream="shard"}`); got != tt.want {
				t.Errorf("counted %v times", got)
			}
		})
	}
}
