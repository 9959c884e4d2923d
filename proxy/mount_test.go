package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/routing/routingtest"
)

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestMounts(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	s.Shard.ExternalURL = parse(t, "https://kcp.example:443/")
	w.mapping = "- path: /services/\n  backend: " + s.URL + routingtest.TLSEntry
	w.config.Routing.Shards = func() []*shards.Shard { return []*shards.Shard{s.Shard} }
	w.config.Routing.ExternalURLs = []*url.URL{parse(t, "https://front.example:6443")}
	mount := func(name, to string) { w.index["root:"+name] = index.Target{Mount: parse(t, to)} }
	mount("shard", s.URL+"/clusters/root:ws")
	mount("external", "https://KCP.example./clusters/root:ws/")
	mount("front", "https://front.example:6443/services/vw/clusters/root:ws")
	mount("unknown", "https://kcp.example/clusters/root:nope")
	mount("wildcard", "https://kcp.example/clusters/*")
	mount("system", s.URL+"/clusters/system:admin")
	mount("unmapped", s.URL+"/apis")
	mount("dots", s.URL+"/clusters/../clusters/root:ws")
	mount("two", "https://kcp.example/clusters/root:shard")
	mount("three", "https://kcp.example/clusters/root:two")
	mount("four", "https://kcp.example/clusters/root:three")
	mount("loop", "https://kcp.example/clusters/root:loop")
	mount("elsewhere", "https://elsewhere.example/")
	var asked index.Target
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		asked = r.Target
		return &authn.Decision{User: alice, Status: 200}
	}
	f := w.front(t)
	c := f.client(t, false)
	for name, want := range map[string]struct {
		code int
		uri  string
	}{
		"shard": {200, "/clusters/2kd9/api?x=%2F"}, "external": {200, "/clusters/2kd9/api?x=%2F"}, "front": {200, "/services/vw/clusters/root:ws/api?x=%2F"},
		"two": {200, "/clusters/2kd9/api?x=%2F"}, "three": {200, "/clusters/2kd9/api?x=%2F"}, "four": {508, ""}, "loop": {508, ""},
		"unknown": {403, ""}, "wildcard": {403, ""}, "system": {403, ""}, "unmapped": {404, ""}, "dots": {400, ""}, "elsewhere": {403, ""},
	} {
		asked = index.Target{}
		res, body := do(t, c, "GET", f.URL+"/clusters/root:"+name+"/api?x=%2F", nil)
		got := s.take()
		if res.StatusCode != want.code || (len(got) == 1) != (want.uri != "") || len(got) == 1 && got[0].URI != want.uri {
			t.Errorf("%s: %d %s, shard got %+v; want %v", name, res.StatusCode, body, got, want)
		}
		if want.uri != "" && asked.Cluster != "2kd9" {
			t.Errorf("%s: decided for cluster %q", name, asked.Cluster)
		}
	}
}

// TestExternalMountGetsNoCredentials: a host that a tenant named gets the request and nothing of
// ours or the caller's.
func TestExternalMountGetsNoCredentials(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", false, nil)
	var got *http.Request
	other := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
	other.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, "other")}, ClientAuth: tls.RequestClientCert}
	other.StartTLS()
	t.Cleanup(other.Close)
	allow := true
	w.config.Routing.MountTLS = &tls.Config{RootCAs: w.serving.Pool, Certificates: []tls.Certificate{w.clients.Pair(t, "never")}}
	w.config.Routing.MountDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !allow {
			return nil, errors.New("egress refused: " + address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	w.index["root:away"] = index.Target{Mount: parse(t, other.URL+"/base")}
	w.index["root:plain"] = index.Target{Mount: parse(t, "http"+strings.TrimPrefix(other.URL, "https"))}
	f := w.front(t)
	secret := http.Header{"Authorization": {"Bearer secret"}, "Cookie": {"secret"}, "Impersonate-User": {"secret"}, "Impersonate-Extra-Foo": {"secret"},
		"X-Remote-User": {"secret"}, "X_remote_group": {"secret"}, "X-Forwarded-For": {"secret"}, "Proxy-Authorization": {"secret"}, "X-Kept": {"yes"}}
	res, body := do(t, f.client(t, false), "GET", f.URL+"/clusters/root:away/api/a%2Fb?x", secret)
	if res.StatusCode != 200 || got == nil {
		t.Fatalf("answer %d %s", res.StatusCode, body)
	}
	if got.RequestURI != "/base/api/a%2Fb?x" || "https://"+got.Host != other.URL || got.Header.Get("X-Kept") != "yes" || len(got.TLS.PeerCertificates) != 0 {
		t.Errorf("the host got %s at %s, %d certificates", got.RequestURI, got.Host, len(got.TLS.PeerCertificates))
	}
	for k, v := range got.Header {
		if !slices.Contains([]string{routing.LoopHeader, "X-Kept", "User-Agent", "Accept-Encoding"}, k) {
			t.Errorf("the host got %s: %v", k, v)
		}
	}
	if res, _ := do(t, f.client(t, false), "GET", f.URL+"/clusters/root:plain/api", nil); res.StatusCode != 403 {
		t.Errorf("a mount without TLS: %d", res.StatusCode)
	}
	allow, got = false, nil
	f.router.Close()
	res, body = do(t, f.client(t, false), "GET", f.URL+"/clusters/root:away/api", nil)
	if res.StatusCode != 503 || strings.Contains(string(body), "127.0.0.1") || got != nil {
		t.Errorf("a refused dial: %d %s", res.StatusCode, body)
	}
}
