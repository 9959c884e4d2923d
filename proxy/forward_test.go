package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/routing/routingtest"
)

func TestForwardsRequestsUnchanged(t *testing.T) {
	protocols(t, func(t *testing.T, client2, shard2 bool) {
		w := newWorld(t)
		s := w.shard(t, "shard-1", shard2, nil)
		f := w.front(t)
		c := f.client(t, client2)
		for i, path := range []string{
			"", "/", "/", "/api", "/api/", "/api/v1/namespaces/x/services/a%2fb%2Fc/proxy/../..//x/%2e%2e/%7e;v=1",
			"/x%20y/%c3%bc/|^\"", "/api/v1/pods?watch=0&a=%2F&b;c&&=", "/api?", "/a:b/*",
		} {
			u, err := url.Parse(f.URL)
			if err != nil {
				t.Fatal(err)
			}
			raw, query, asked := strings.Cut(path, "?")
			u.Opaque, u.RawQuery, u.ForceQuery = "/clusters/root:ws"+raw, query, asked
			method := [2]string{http.MethodGet, http.MethodDelete}[i%2] // writes go over HTTP/2
			r := &http.Request{Method: method, URL: u, Host: "kcp.example:8443", Header: http.Header{
				"Authorization": {"Bearer t"}, "X-Forwarded-For": {"10.1.1.1", "10.2.2.2"}, "X-Forwarded-Proto": {"gopher"}, "Impersonate-User": {"bob"},
				"X-Kubernetes-Sharded-Request": {"1"}}}
			res, err := c.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode != 200 || string(body) != "ok" {
				t.Fatalf("%s: answer %d %s", path, res.StatusCode, body)
			}
			got := s.one(t)
			if want := "/clusters/2kd9" + path; got.URI != want {
				t.Errorf("on the wire: %q, want %q", got.URI, want)
			}
			if diff := cmp.Diff(alice, got.User); diff != "" {
				t.Errorf("identity (-want +got):\n%s", diff)
			}
			if got.Host != "kcp.example:8443" || got.Certificate != "front-proxy" || (got.Proto == "HTTP/2.0") != (shard2 && method == http.MethodDelete) {
				t.Errorf("%s: host %q, certificate %q, %s", method, got.Host, got.Certificate, got.Proto)
			}
			for key, want := range map[string][]string{"Authorization": nil, "X-Forwarded-For": {"10.1.1.1, 10.2.2.2, 127.0.0.1"},
				"X-Forwarded-Proto": {"gopher"}, "Impersonate-User": {"bob"}, "X-Kubernetes-Sharded-Request": {"1"}} {
				if diff := cmp.Diff(want, got.Header[key]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", key, diff)
				}
			}
		}
	})
}

func TestBaseURLWithPath(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	base := *s.Shard.BaseURL
	base.Path = "/base dir"
	w.index["root:ws"] = index.Target{Cluster: "2kd9", Shard: shardAt("shard-1", &base)}
	w.mapping = "- path: /services/\n  backend: " + s.URL + "/vw/" + routingtest.TLSEntry
	f := w.front(t)
	do(t, f.client(t, false), "GET", f.URL+"/clusters/root:ws/api", nil)
	if got := s.one(t).URI; got != "/base%20dir/clusters/2kd9/api" {
		t.Errorf("below a base path: %q", got)
	}
	do(t, f.client(t, false), "GET", f.URL+"/services/x/clusters/root:ws/a%2Fb", nil)
	if got := s.one(t).URI; got != "/vw/services/x/clusters/root:ws/a%2Fb" {
		t.Errorf("below a backend's path: %q", got)
	}
}

func TestAnswers(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.index["root:gone"] = index.ErrUnavailable
	w.index["root:soon"] = index.ErrNotSynced
	w.mapping = "- path: /services/\n  backend: " + s.URL + routingtest.TLSEntry +
		"- path: /open/\n  authentication: pass-through\n  backend: " + s.URL + routingtest.TLSEntry
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		switch r.Header.Get("Authorization") {
		case "":
			return &authn.Decision{PassThrough: true, Status: 200}
		case "Bearer good":
			return &authn.Decision{User: alice, Status: 200}
		case "Bearer later":
			return &authn.Decision{Status: 503, ID: "i-2"}
		case "Bearer nobody":
			return &authn.Decision{User: &user.DefaultInfo{}, Status: 200}
		}
		return &authn.Decision{Status: 401, ID: "i-1"}
	}
	f := w.front(t)
	type want struct {
		code    int
		reason  string
		id      string
		retry   string
		reached bool
	}
	for _, tt := range []struct {
		name, method, path, token string
		want                      want
	}{
		{"admitted", "GET", "/clusters/root:ws/api", "good", want{code: 200, reached: true}},
		{"encoded colon", "GET", "/clusters/root%3Aws/api", "good", want{code: 200, reached: true}},
		{"passed through", "GET", "/clusters/root:ws/api", "", want{code: 200, reached: true}},
		{"refused", "GET", "/clusters/root:ws/api", "bad", want{code: 401, reason: "Unauthorized", id: "i-1"}},
		{"refused POST", "POST", "/clusters/root:ws/api", "bad", want{code: 401, reason: "Unauthorized", id: "i-1"}},
		{"undecided", "GET", "/clusters/root:ws/api", "later", want{code: 503, reason: "ServiceUnavailable", id: "i-2", retry: "2"}},
		{"decision without a name", "GET", "/clusters/root:ws/api", "nobody", want{code: 500, reason: "InternalError"}},
		{"backend authenticates", "GET", "/open/x", "bad", want{code: 200, reached: true}},
		{"unknown", "GET", "/clusters/root:nope/api", "good", want{code: 403, reason: "Forbidden"}},
		{"unavailable", "GET", "/clusters/root:gone/api", "good", want{code: 503, reason: "ServiceUnavailable", retry: "2"}},
		{"not synced", "GET", "/clusters/root:soon/api", "good", want{code: 503, reason: "ServiceUnavailable", retry: "2"}},
		{"wildcard", "GET", "/clusters/*/api", "good", want{code: 403, reason: "Forbidden"}},
		{"system", "GET", "/clusters/system:admin/api", "good", want{code: 403, reason: "Forbidden"}},
		{"upper case", "GET", "/clusters/ROOT/api", "good", want{code: 403, reason: "Forbidden"}},
		{"no cluster", "GET", "/clusters/", "good", want{code: 404, reason: "NotFound"}},
		{"no mapping", "GET", "/api", "good", want{code: 404, reason: "NotFound"}},
		{"dot segment", "GET", "/clusters/../clusters/root:ws", "good", want{code: 400, reason: "BadRequest"}},
		{"dot cluster", "GET", "/clusters/%2e%2e/api", "good", want{code: 400, reason: "BadRequest"}},
		{"encoded slash", "GET", "/clusters%2Froot:ws/api", "good", want{code: 400, reason: "BadRequest"}},
		{"slash in cluster", "GET", "/clusters/root:ws%2fapi", "good", want{code: 400, reason: "BadRequest"}},
		{"doubled slash", "GET", "//clusters/root:ws", "good", want{code: 400, reason: "BadRequest"}},
		{"doubled slash before the cluster", "GET", "/clusters//root:ws", "good", want{code: 400, reason: "BadRequest"}},
		{"backslash", "GET", "/clusters/root:ws%5Capi", "good", want{code: 400, reason: "BadRequest"}},
		{"control byte", "GET", "/clusters/root:ws%00", "good", want{code: 400, reason: "BadRequest"}},
		{"encoded letters", "GET", "/clusters/r%6F%6Ft:ws/api", "good", want{code: 400, reason: "BadRequest"}},
		{"service", "GET", "/services/x/clusters/root:ws/api", "good", want{code: 200, reached: true}},
		{"service, all clusters", "GET", "/services/x/clusters/*/api", "good", want{code: 200, reached: true}},
		{"service, no cluster", "GET", "/services/x", "good", want{code: 200, reached: true}},
		{"service, unknown cluster", "GET", "/services/x/clusters/root:nope/api", "good", want{code: 403, reason: "Forbidden"}},
		{"service, system cluster", "GET", "/services/x/clusters/system:a/api", "good", want{code: 403, reason: "Forbidden"}},
		{"service, hidden cluster", "GET", "/services/x%2Fclusters/root:ws/api", "good", want{code: 400, reason: "BadRequest"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			auth := ""
			if tt.token != "" {
				auth = "Authorization: Bearer " + tt.token + "\r\n"
			}
			res, body := f.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: front\r\nContent-Length: 0\r\n%sConnection: close\r\n\r\n", tt.method, tt.path, auth))
			got := want{code: res.StatusCode, reached: len(s.take()) == 1, retry: res.Header.Get("Retry-After")}
			if got.code >= 400 {
				st := status(t, body)
				got.reason = string(st.Reason)
				if st.Details != nil {
					got.id = string(st.Details.UID)
				}
				if int(st.Code) != res.StatusCode || res.Header.Get("Content-Type") != "application/json" {
					t.Errorf("code %d in the Status of a %d, type %q", st.Code, res.StatusCode, res.Header.Get("Content-Type"))
				}
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("answer (-want +got):\n%s\n%s", diff, body)
			}
		})
	}
}

func TestTargetReachesDecider(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	typed := index.Target{Cluster: "2kd9", Shard: s.Shard, Type: index.Type{Cluster: "abc", Name: "team"}}
	w.index["root:ws"] = typed
	w.mapping = "- path: /services/\n  backend: " + s.URL + routingtest.TLSEntry + "- path: /by/{cluster}/\n  backend: " + s.URL + routingtest.TLSEntry +
		"- path: /\n  backend: " + s.URL + routingtest.TLSEntry
	var got index.Target
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		got = r.Target
		return &authn.Decision{User: alice, Status: 200}
	}
	f := w.front(t)
	for path, want := range map[string]index.Target{
		"/clusters/root:ws/api": typed, "/services/x/clusters/root:ws/api": typed, "/by/root:ws/api": typed, "/other/clusters/root:ws": typed,
		"/services/x": {}, "/services/x/clusters/*/api": {}, "/by/*/api": {}, "/other": {}, "/": {},
	} {
		got = index.Target{Cluster: "not asked"}
		do(t, f.client(t, false), "GET", f.URL+path, nil)
		if uri := s.one(t).URI; uri != path && path != "/clusters/root:ws/api" {
			t.Errorf("%s reached the backend as %s", path, uri)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: target (-want +got):\n%s", path, diff)
		}
	}
}

func TestPassThroughKeepsCredentials(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.decide = func(context.Context, authn.Request) *authn.Decision {
		return &authn.Decision{PassThrough: true, Status: 200}
	}
	f := w.front(t)
	do(t, f.client(t, true), "GET", f.URL+"/clusters/root:ws/api", http.Header{"Authorization": {"Bearer t"}, "X-Remote-User": {"admin"},
		"X-Remote-Extra-Authentication.kcp.io%2fscopes": {"cluster:root"}})
	got := s.one(t)
	if got.User != nil || got.Header.Get("Authorization") != "Bearer t" || len(got.Header) > 5 {
		t.Errorf("identity %v, headers %v", got.User, got.Header)
	}
}

func TestUnreachableShardGets503(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.mapping = "- path: /services/\n  backend: " + s.URL + routingtest.TLSEntry
	f := w.front(t)
	s.Close()
	for path, name := range map[string]string{"/clusters/root:ws/api": `shard "shard-1"`, "/services/x": `"/services/"`} {
		for _, http2 := range []bool{false, true} {
			res, body := do(t, f.client(t, http2), "GET", f.URL+path, nil)
			st := status(t, body)
			if res.StatusCode != 503 || st.Reason != "ServiceUnavailable" || res.Header.Get("Retry-After") == "" || !strings.Contains(st.Message, name) {
				t.Errorf("%s: %d, Retry-After %q, %s", path, res.StatusCode, res.Header.Get("Retry-After"), body)
			}
			if strings.Contains(string(body), s.Shard.BaseURL.Host) || strings.Contains(string(body), "127.0.0.1") {
				t.Errorf("the answer tells an address: %s", body)
			}
		}
	}
}

func TestPanicContained(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		if r.Header.Get("Boom") != "" {
			panic("boom with a secret")
		}
		return &authn.Decision{User: alice, Status: 200}
	}
	f := w.front(t)
	for i, http2 := range []bool{false, true} {
		c := f.client(t, http2)
		res, body := do(t, c, "GET", f.URL+"/clusters/root:ws/api", http.Header{"Boom": {"1"}})
		if st := status(t, body); res.StatusCode != 500 || st.Reason != "InternalError" || strings.Contains(string(body), "boom") {
			t.Errorf("answer %d %s", res.StatusCode, body)
		}
		if got := f.panics.Load(); got != uint64(i+1) {
			t.Errorf("%d panics counted, want %d", got, i+1)
		}
		if res, _ := do(t, c, "GET", f.URL+"/clusters/root:ws/api", nil); res.StatusCode != 200 {
			t.Errorf("afterwards: %d", res.StatusCode)
		}
	}
	s.take()
}

// TestPassesOnBrokenResponses: an answer that breaks off is passed on as one, a refusal that was
// looked into (identityRejections.record) too.
func TestPassesOnBrokenResponses(t *testing.T) {
	for _, code := range []int{http.StatusOK, http.StatusForbidden} {
		t.Run(http.StatusText(code), func(t *testing.T) { passesOnBrokenResponse(t, code) })
	}
}

func passesOnBrokenResponse(t *testing.T, code int) {
	protocols(t, func(t *testing.T, client2, shard2 bool) {
		w := newWorld(t)
		w.shard(t, "shard-1", shard2, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "100")
			rw.WriteHeader(code)
			_, _ = io.WriteString(rw, "half")
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		})
		f := w.front(t)
		res, err := f.client(t, client2).Get(f.URL + "/clusters/root:ws/api")
		if err != nil {
			return // cut before the head was flushed: an error as well
		}
		defer func() { _ = res.Body.Close() }()
		if body, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("the client takes %q for the whole answer", body)
		}
		if f.panics.Load() != 0 {
			t.Error("an upstream's failure was counted as a panic")
		}
	})
}

func TestInCluster(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.mapping = "- path: /services/\n  backend: " + s.URL + routingtest.TLSEntry + "- path: /\n  backend: " + s.URL + "/default" + routingtest.TLSEntry
	f := w.front(t)
	bound := `{"kubernetes.io":{"clusterName":"2kd9"}}`
	for _, tt := range []struct {
		name, path, claims, want string
		header                   http.Header
	}{
		{name: "bound", path: "/api/v1/pods?x=1", claims: bound, want: "/clusters/2kd9/api/v1/pods?x=1"},
		{name: "legacy", path: "/api", claims: `{"kubernetes.io/serviceaccount/clusterName":"2kd9"}`, want: "/clusters/2kd9/api"},
		{name: "a path that decides nothing", path: "/api/x/proxy/a%2Fb//../c", claims: bound, want: "/clusters/2kd9/api/x/proxy/a%2Fb//../c"},
		{name: "the root path", path: "/", claims: bound, want: "/clusters/2kd9/"},
		{name: "below /clusters/", path: "/clusters/root:ws/api", claims: `{"kubernetes.io":{"clusterName":"nope"}}`, want: "/clusters/2kd9/api"},
		{name: "below another mapping", path: "/services/x", claims: bound, want: "/services/x"},
		{name: "sharded", path: "/api", claims: bound, header: http.Header{"X-Kubernetes-Sharded-Request": {"1"}}, want: "/default/api"},
		{name: "no claim", path: "/api", claims: `{}`, want: "/default/api"},
		{name: "claim of another kind", path: "/api", claims: `{"kubernetes.io":{"clusterName":7}}`, want: "/default/api"},
		{name: "claim with a path", path: "/api", claims: `{"kubernetes.io":{"clusterName":"../services"}}`, want: "/default/api"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{"Authorization": {"Bearer " + jwt(tt.claims)}}
			for k, v := range tt.header {
				header[k] = v
			}
			do(t, f.client(t, false), "GET", f.URL+tt.path, header)
			if got := s.one(t).URI; got != tt.want {
				t.Errorf("reached %s, want %s", got, tt.want)
			}
		})
	}
}

func TestCORS(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", false, nil)
	w.config.CORSOrigins = []string{`^https://ui\.example$`}
	f := w.front(t)
	res, _ := do(t, f.client(t, false), "OPTIONS", f.URL+"/clusters/root:ws/api", http.Header{"Origin": {"https://ui.example"}})
	if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "https://ui.example" {
		t.Errorf("preflight: %d %v", res.StatusCode, res.Header)
	}
	res, _ = do(t, f.client(t, false), "GET", f.URL+"/clusters/root:ws/api", http.Header{"Origin": {"https://evil.example"}})
	if res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a foreign origin is allowed")
	}
	for _, wrong := range []string{"(", ""} { // an empty one would match every origin
		if _, err := New(Config{Routing: routing.Config{Mappings: &routing.Mappings{}}, Decider: deciderFunc(w.decide), CORSOrigins: []string{"a", wrong}}); err == nil || !strings.Contains(err.Error(), "--cors-allowed-origins") {
			t.Errorf("origin %q: %v", wrong, err)
		}
	}
}
