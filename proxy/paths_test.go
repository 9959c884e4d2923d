package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"frontproxy/index"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/routing/routingtest"
)

// leavingPaths lead out of what they follow, to one server or another.
var leavingPaths = []string{
	"/../team-b/api", "/%2e%2e/team-b/api", "/%2E./team-b", "/..%2fteam-b", "/..%2Fteam-b", `/..\team-b`, "/..%5cteam-b", "/%252e%252e/team-b", "/%252e%252e%252fteam-b",
	"/..;x/team-b", "/api/../../team-b", "/api/..%2f..%2fteam-b", "/api%2fv1/../../team-b", "/./../team-b", "/..",
}

// stayingPaths do not, and reach the next server byte for byte.
var stayingPaths = []string{
	"/api/v1/namespaces/n/services/s/proxy/a%2Fb/../c%2Fd//e%20f%5c%25", "/api/v1/../v1/pods", "/apis/g/v1/x/a%2e", "/api/v1/x/%2e%2e/y", "/api/v1;a=b/...",
}

// TestPathsStayBelowTheirMount: what a caller's path says stays below the mount's
// URL, however the host or what is before it resolves dot segments.
func TestPathsStayBelowTheirMount(t *testing.T) {
	for _, how := range []string{"listed", "not listed"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			w.shard(t, "shard-1", false, nil)
			var reached []string
			host := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached = append(reached, r.RequestURI) }))
			host.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, "host")}}
			host.StartTLS()
			t.Cleanup(host.Close)
			w.index["root:mount"] = index.Target{Mount: parse(t, host.URL+"/team-a")}
			if how == "listed" {
				w.mountHosts(t, "- url: "+host.URL+"/team-a"+routingtest.TLSEntry)
			} else {
				w.config.Routing.MountTLS = &tls.Config{RootCAs: w.serving.Pool}
				w.config.Routing.MountDial = (&net.Dialer{}).DialContext
			}
			f := w.front(t)
			for _, path := range leavingPaths {
				res, body := f.raw(t, getRequest("/clusters/root:mount"+path))
				if res.StatusCode != 400 || len(reached) != 0 {
					t.Errorf("%s: %d %s; the host got %q, want 400", path, res.StatusCode, body, reached)
				}
				reached = nil
			}
			for _, path := range stayingPaths {
				res, body := f.raw(t, getRequest("/clusters/root:mount"+path))
				if res.StatusCode != 200 || len(reached) != 1 || reached[0] != "/team-a"+path {
					t.Errorf("%s: %d %s; the host got %q", path, res.StatusCode, body, reached)
				}
				reached = nil
			}
		})
	}
}

// TestDotSegmentsStayInside: in front of shards and backends, too, which may have a
// server before them that resolves dot segments.
func TestDotSegmentsStayInside(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.mapping = "- path: /services/\n  backend: " + s.URL + "/base" + routingtest.TLSEntry + "- path: /at/{cluster}/\n  backend: " + s.URL + routingtest.TLSEntry
	f := w.front(t)
	for before, after := range map[string]string{
		"/clusters/root:ws": "/clusters/2kd9", "/clusters/root:ws/api": "/clusters/2kd9/api", "/services/x/clusters/root:ws": "/base/services/x/clusters/root:ws",
		"/services/x/clusters/root:ws/api": "/base/services/x/clusters/root:ws/api", "/at/root:ws": "/at/root:ws",
	} {
		for _, path := range leavingPaths {
			if res, body := f.raw(t, getRequest(before+path)); res.StatusCode != 400 {
				t.Errorf("%s%s: %d %s; want 400", before, path, res.StatusCode, body)
			}
			if got := s.take(); len(got) != 0 {
				t.Errorf("%s%s: the shard got %+v", before, path, got)
			}
		}
		for _, path := range stayingPaths {
			res, body := f.raw(t, getRequest(before+path))
			if got := s.take(); res.StatusCode != 200 || len(got) != 1 || got[0].URI != after+path {
				t.Errorf("%s%s: %d %s; the shard got %+v", before, path, res.StatusCode, body, got)
			}
		}
	}
}

func getRequest(target string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: front.example\r\nConnection: close\r\n\r\n", target)
}

// TestAuditReadsPathsAsServersDo: the API path below a cluster is the one that the
// server, which decodes the path first, acts on.
func TestAuditReadsPathsAsServersDo(t *testing.T) {
	w := newWorld(t)
	router, err := routing.New(routing.Config{Mappings: w.mappings(t, routingtest.ShardsMapping+"- path: /services/\n  backend: https://vw.example"+routingtest.TLSEntry), Index: w.index})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/services/x/clusters/root:ws/api/v1/secrets": "secrets", "/services/x/cluster%73/root:ws/api/v1/secrets": "secrets", "/services/x/%63lusters/*/api/v1/secrets/s": "secrets",
		"/clusters/root:ws/api/v1/%73ecrets": "secrets", "/services/x/clusters/root:ws": "", "/services/x": "",
	} {
		in, err := http.NewRequest(http.MethodGet, "https://front.example"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		x := &record{}
		x.dest, _ = router.Resolve(in, path) // there is no such cluster
		if got := x.requestInfo(in); got.Resource != want {
			t.Errorf("%s: read as %+v, want resource %q", path, got, want)
		}
	}
}
