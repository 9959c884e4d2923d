package requestinfo

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// TestVerb compares with what an API server calls the same request.
func TestVerb(t *testing.T) {
	factory := request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	for _, path := range []string{
		"/", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/apis/apps/v1/", "/version", "/openapi/v3/apis/apps/v1", "/healthz",
		"/api/v1/pods", "/api/v1/nodes/n", "/api/v1/nodes/n/status", "/api/v1/namespaces", "/api/v1/namespaces/a", "/api/v1/namespaces/a/status",
		"/api/v1/namespaces/a/finalize", "/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/pods/p", "/api/v1/namespaces/a/pods/p/log", "/apis/apps/v1/deployments",
		"/apis/apps/v1/namespaces/a/deployments", "/apis/apps/v1/namespaces/a/deployments/d/scale", "/apis/tenancy.kcp.io/v1alpha1/workspaces/w",
		"/api/v1/watch/pods", "/api/v1/watch/namespaces/a/pods", "/api/v1/watch/namespaces/a/pods/p", "/api/v1/proxy/namespaces/a/services/s",
		"/api/v1/pods/", "//api/v1/pods", "/api/v1/namespaces/a/pods/", "/api/v1//", "/api/v1/namespaces/a/configmaps/watch/x", "/openapi/watch/x",
		"/api/v1/namespaces/watch/pods", "/api/v1/namespaces/a/pods/b%2Flog", "/api%2Fv1%2Fpods", "/api/v1/w%61tch/pods", "/api/v1/namespaces/a%2Fpods",
	} {
		for _, query := range []string{"", "watch=true", "watch=1&limit=5", "watch=false", "limit=1"} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				r := httptest.NewRequest(method, path+"?"+query, nil)
				info, err := factory.NewRequestInfo(r)
				if err != nil {
					t.Fatal(err)
				}
				want := info.Verb
				switch {
				case !info.IsResourceRequest && (method == http.MethodGet || method == http.MethodHead):
					want = strings.ToLower(method)
				case want == "":
					want = "other"
				case want == "proxy":
					want = "connect"
				}
				if got := Verb(Of(method, path, query), false); got != want {
					t.Errorf("%s %s?%s: %q, an API server says %q", method, path, query, got, want)
				}
			}
		}
	}
	for _, tt := range []struct {
		method, path, query string
		upgrade             bool
		want                string
	}{
		{"GET", "/api/v1/namespaces/a/pods/p/exec", "", true, "connect"},
		{"POST", "/api/v1/namespaces/a/pods/p/exec", "", true, "connect"},
		{"GET", "/api/v1/namespaces/a/pods/p/log", "follow=true", false, "get"},
		{"BREW", "/api/v1/pods", "", false, "other"},
		{"BREW", "/", "", false, "other"},
		{"WATCH", "/", "", false, "other"},
		{"PROXY", "/version", "", false, "other"},
		{"GET", "", "", false, "get"},
		{"GET", "/api/v1/watch", "", false, "get"}, // an error, and so no resource
		{"GET", "/api/v1/pods/%zz", "", false, "get"},
	} {
		if got := Verb(Of(tt.method, tt.path, tt.query), tt.upgrade); got != tt.want {
			t.Errorf("%s %s?%s: %s, want %s", tt.method, tt.path, tt.query, got, tt.want)
		}
	}
}

// FuzzVerb: no method, path or query makes another verb, which is a metric's label.
func FuzzVerb(f *testing.F) {
	known := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "connect", "head", "post", "put", "options", "other"}
	f.Add("GET", "/api/v1/namespaces/a/pods/p", "watch=1")
	f.Add("DELETE", "//apis//", "%")
	f.Add("WATCH", "/", "")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		info := Of(method, path, query)
		if v := Verb(info, false); !slices.Contains(known, v) {
			t.Errorf("verb %q", v)
		}
		if LongRunning(info) && !info.IsResourceRequest && !strings.HasPrefix(info.Path, "/debug/pprof/") {
			t.Errorf("%s %s is long-running and for no resource", method, path)
		}
	})
}
