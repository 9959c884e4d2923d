package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"frontproxy/index"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/routing"
)

// externalMountWorld is a world whose workspace root:away is a mount on another host,
// served by handler.
func externalMountWorld(t *testing.T, handler http.HandlerFunc) (*world, *standIn, *httptest.Server) {
	t.Helper()
	w := newWorld(t)
	shard := w.shard(t, "shard-1", false, nil)
	return w, shard, w.mountedHost(t, false, handler)
}

// mountedHost starts a host that workspace root:away mounts.
func (w *world) mountedHost(t *testing.T, http2 bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	other := httptest.NewUnstartedServer(handler)
	other.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, "other")}}
	other.EnableHTTP2 = http2
	other.StartTLS()
	t.Cleanup(other.Close)
	w.config.Routing.MountTLS = &tls.Config{RootCAs: w.serving.Pool}
	w.config.Routing.MountDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	w.index["root:away"] = index.Target{Mount: parse(t, other.URL)}
	return other
}

// TestSanitizesResponsesOfExternalMounts: what a tenant's host answers can't use the
// rights that a browser gives to our origin.
func TestSanitizesResponsesOfExternalMounts(t *testing.T) {
	originHeaders := []string{"Set-Cookie", "Clear-Site-Data", "Strict-Transport-Security", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Alt-Svc", "NEL", "Report-To", "Reporting-Endpoints"}
	w, _, _ := externalMountWorld(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, key := range originHeaders {
			w.Header().Set(key, "*")
		}
		w.Header().Set("X-Kept", "early")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("X-Kept", "yes")
		_, _ = io.WriteString(w, "<html>")
		_ = http.NewResponseController(w).Flush()
		for _, key := range append(originHeaders, "X-Kept") {
			w.Header().Set(http.TrailerPrefix+key, "trailer")
		}
	})
	f := w.front(t)
	var early http.Header
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
		early = http.Header(header).Clone()
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+"/clusters/root:away/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.client(t, false).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if diff := cmp.Diff(http.Header{"X-Kept": {"early"}}, early); diff != "" {
		t.Errorf("early hints: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{"X-Kept": {"trailer"}}, res.Trailer); diff != "" {
		t.Errorf("trailers: -want +got\n%s", diff)
	}
	for key := range res.Header {
		switch key {
		case "Content-Type", "Content-Length", "Date", "X-Kept", "Content-Security-Policy", "X-Content-Type-Options":
		default:
			t.Errorf("the answer has %s: %q", key, res.Header[key])
		}
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "sandbox") || res.Header.Get("X-Kept") != "yes" {
		t.Errorf("policy %q, X-Kept %q", csp, res.Header.Get("X-Kept"))
	}
}

// TestEndsLoopsOfExternalMounts: a mount that leads back to the proxy under a name that
// is not known as its own ends at the second pass.
func TestEndsLoopsOfExternalMounts(t *testing.T) {
	passes := 0
	var again http.Handler
	w, _, _ := externalMountWorld(t, func(w http.ResponseWriter, r *http.Request) {
		passes++
		again.ServeHTTP(w, r)
	})
	f := w.front(t)
	again = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.URL.Path, r.RequestURI = "/clusters/root:away"+r.URL.Path, "/clusters/root:away"+r.RequestURI
		f.ServeHTTP(rw, r)
	})
	res, body := do(t, f.client(t, false), "GET", f.URL+"/clusters/root:away/api", nil)
	if res.StatusCode != http.StatusLoopDetected || passes != 1 {
		t.Errorf("%d %s after %d passes", res.StatusCode, body, passes)
	}
}

// TestPathBelowExternalMountNamesNoOtherHost: the path below a mount can't name another host.
func TestPathBelowExternalMountNamesNoOtherHost(t *testing.T) {
	reached := ""
	w, _, _ := externalMountWorld(t, func(_ http.ResponseWriter, r *http.Request) { reached = r.Host + r.RequestURI })
	f := w.front(t)
	res, body := do(t, f.client(t, false), "GET", f.URL+"/clusters/root:away//evil.example/x", nil)
	if res.StatusCode != http.StatusBadRequest || reached != "" {
		t.Errorf("%d %s, the host saw %q", res.StatusCode, body, reached)
	}
}

// TestReusedExchangeForgetsExternalMount: a request that follows one to an external mount on
// the same pooled exchange is an ordinary one.
func TestReusedExchangeForgetsExternalMount(t *testing.T) {
	w, shard, _ := externalMountWorld(t, func(http.ResponseWriter, *http.Request) {})
	f := w.front(t)
	c := f.client(t, false)
	for range 20 { // the pool hands out what was given back, though not always
		if res, body := do(t, c, "GET", f.URL+"/clusters/root:away/api", nil); res.StatusCode != 200 {
			t.Fatalf("mount: %d %s", res.StatusCode, body)
		}
		res, body := do(t, c, "GET", f.URL+"/clusters/root:ws/api", nil)
		got := shard.take()
		if res.StatusCode != 200 || len(got) != 1 {
			t.Fatalf("workspace: %d %s, the shard got %+v", res.StatusCode, body, got)
		}
		if res.Header.Get("Content-Security-Policy") != "" || got[0].Header.Get(routing.LoopHeader) != "" {
			t.Fatal("the exchange still takes the target for an external host")
		}
	}
	x := f.exchanges.Get().(*exchange)
	x.dest, x.code = destination.Destination{Kind: destination.MountedHost, Base: &url.URL{}, Target: index.Target{Cluster: "c"}}, 200
	x.reset()
	if x.dest.Kind != destination.Nowhere || x.dest.Target.Cluster != "" || x.code != 0 || x.dest.Base != nil || x.decision != nil {
		t.Errorf("reset keeps %+v", x)
	}
}
