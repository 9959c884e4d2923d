package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/internal/protectedresource"
	"frontproxy/proxy/logindiscovery"
	"frontproxy/proxy/routing/routingtest"
)

const wellKnown = protectedresource.WellKnownPath

func loginClientOf(issuer string) protectedresource.Client {
	return protectedresource.Client{Issuer: issuer, ClientID: "kubectl", Scopes: []string{"openid"}}
}

// withLogin turns discovery on: workspaces of the type team tell of a company's
// issuer.
func (w *world) withLogin(t testing.TB, operator ...protectedresource.Client) {
	t.Helper()
	d, err := logindiscovery.New(logindiscovery.Config{
		URLs:   []*url.URL{{Scheme: "https", Host: "kcp.example"}, {Scheme: "https", Host: "internal.example:6443"}},
		Lookup: func(path string) (index.Target, error) { return w.index.Lookup(path) },
		Type: func(kind index.Type) []protectedresource.Client {
			if kind.Name != "team" {
				return nil
			}
			return []protectedresource.Client{loginClientOf("https://company.example")}
		},
		Operator: operator,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.config.Pages.LoginDiscovery = d
}

// workspaces makes root:team, which tells where to log in, and root:silent.
func (w *world) workspaces(s *standIn) {
	w.index["root:team"] = index.Target{Cluster: "t1", Shard: s.Shard, Type: index.Type{Cluster: "root", Name: "team"}}
	w.index["root:silent"] = index.Target{Cluster: "t2", Shard: s.Shard, Type: index.Type{Cluster: "root", Name: "universal"}}
	w.index["root:down"] = index.ErrUnavailable
	mount, _ := url.Parse("https://elsewhere.example/x")
	w.index["root:mount"] = index.Target{Mount: mount, Type: index.Type{Cluster: "root", Name: "team"}}
}

func refuse(context.Context, authn.Request) *authn.Decision {
	return &authn.Decision{Status: http.StatusUnauthorized, ID: "one-1"}
}

func TestLoginDiscovery(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "root", false, nil)
	w.workspaces(s)
	w.withLogin(t)
	w.decide = refuse
	f := w.front(t)
	c := f.client(t, true)

	res, body := do(t, c, http.MethodGet, f.URL+wellKnown+"/clusters/root:team", nil)
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %s", res.Status, body)
	}
	got, err := protectedresource.Parse(body, "https://kcp.example/clusters/root:team")
	if err != nil {
		t.Fatal(err)
	}
	want := protectedresource.New("https://kcp.example/clusters/root:team", "workspace root:team", []protectedresource.Client{loginClientOf("https://company.example")})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}

	// What is not told looks the same whatever the reason is.
	var first []byte
	for _, path := range []string{"/clusters/root:silent", "/clusters/root:nobody", "/clusters/root:down", "/clusters/root:mount", "/clusters/*", "/clusters/system:admin", "/clusters/root:team/", "/clusters/root:team/api", "/clusters/", ""} {
		res, body := do(t, c, http.MethodGet, f.URL+wellKnown+path, nil)
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
		if first == nil {
			first = body
		}
		if diff := cmp.Diff(string(first), string(body)); diff != "" {
			t.Errorf("%s is answered otherwise: %s", path, diff)
		}
	}
	if res, _ := do(t, c, http.MethodPost, f.URL+wellKnown+"/clusters/root:team", nil); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", res.Status)
	}
	if n := len(s.take()); n != 0 {
		t.Errorf("the shard has seen %d requests, want none", n)
	}
}

// The Host header chooses among the operator's URLs and adds none.
func TestLoginDiscoveryChecksHost(t *testing.T) {
	w := newWorld(t)
	w.workspaces(w.shard(t, "root", false, nil))
	w.withLogin(t)
	w.decide = refuse
	f := w.front(t)
	for host, want := range map[string]string{
		"evil.example": "https://kcp.example", "kcp.example:443": "https://kcp.example", "KCP.example": "https://kcp.example",
		"internal.example:6443": "https://internal.example:6443", "internal.example": "https://kcp.example", `a"b`: "https://kcp.example",
	} {
		_, body := f.raw(t, "GET "+wellKnown+"/clusters/root:team HTTP/1.1\r\nHost: "+host+"\r\nX-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n")
		if host == `a"b` { // net/http refuses it
			continue
		}
		if _, err := protectedresource.Parse(body, want+"/clusters/root:team"); err != nil {
			t.Errorf("host %s: %v", host, err)
		}
		res, _ := f.raw(t, "GET /clusters/root:team/api HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if got := res.Header.Get("WWW-Authenticate"); got != `Bearer resource_metadata="`+want+wellKnown+`/clusters/root:team"` {
			t.Errorf("host %s: challenge %q", host, got)
		}
	}
}

// A 401 says where to log in, whether a token was bad, and no reason.
func TestChallenge(t *testing.T) {
	w := newWorld(t)
	w.workspaces(w.shard(t, "root", false, nil))
	w.withLogin(t)
	w.decide = refuse
	f := w.front(t)
	c := f.client(t, false)
	plain := `Bearer resource_metadata="https://kcp.example` + wellKnown + `/clusters/root:team"`
	for name, test := range map[string]struct {
		path   string
		header http.Header
		want   string
	}{
		"no credential":     {"/clusters/root:team/api", nil, plain},
		"an escaped colon":  {"/clusters/root%3Ateam/api", nil, plain},
		"a bad token":       {"/clusters/root:team/api", http.Header{"Authorization": {"Bearer " + jwt("{}")}}, plain + `, error="invalid_token"`},
		"a malformed one":   {"/clusters/root:team/api", http.Header{"Authorization": {"Bearer a b"}}, plain + `, error="invalid_token"`},
		"another scheme":    {"/clusters/root:team/api", http.Header{"Authorization": {"Basic YTpi"}}, plain},
		"a silent type":     {"/clusters/root:silent/api", nil, ""},
		"an unknown one":    {"/clusters/root:nobody/api", nil, ""},
		"the proxy's pages": {"/metrics", nil, ""},
	} {
		res, body := do(t, c, http.MethodGet, f.URL+test.path, test.header)
		if got := strings.Join(res.Header["Www-Authenticate"], " | "); got != test.want {
			t.Errorf("%s: %s with challenge %q, want %q", name, res.Status, got, test.want)
		}
		if res.StatusCode == http.StatusUnauthorized && !strings.HasPrefix(status(t, body).Message, "Unauthorized: the request has no credentials that are used here; log in first") {
			t.Errorf("%s: %s", name, body)
		}
	}
	w.decide = func(context.Context, authn.Request) *authn.Decision {
		return &authn.Decision{Status: http.StatusServiceUnavailable}
	}
	f = w.front(t)
	if res, _ := do(t, f.client(t, false), http.MethodGet, f.URL+"/clusters/root:team/api", nil); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%s, challenge %q: only a 401 has one", res.Status, res.Header.Get("WWW-Authenticate"))
	}
}

// The operator's issuers are told of everywhere, so that nothing shows which
// workspaces there are.
func TestLoginDiscoveryOfTheOperator(t *testing.T) {
	w := newWorld(t)
	w.workspaces(w.shard(t, "root", false, nil))
	w.withLogin(t, loginClientOf("https://operator.example"))
	w.decide = refuse
	f := w.front(t)
	c := f.client(t, true)
	for path, want := range map[string][]string{
		"":                      {"https://operator.example"},
		"/clusters/root:team":   {"https://company.example", "https://operator.example"},
		"/clusters/root:silent": {"https://operator.example"},
		"/clusters/root:nobody": {"https://operator.example"},
		"/clusters/root:down":   {"https://operator.example"},
	} {
		_, body := do(t, c, http.MethodGet, f.URL+wellKnown+path, nil)
		m, err := protectedresource.Parse(body, "https://kcp.example"+path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if diff := cmp.Diff(want, m.AuthorizationServers); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	res, _ := do(t, c, http.MethodGet, f.URL+"/clusters/root:silent/api", nil)
	if res.Header.Get("WWW-Authenticate") == "" {
		t.Error("no challenge, though the operator's issuers are told of")
	}
}

// Mappings below /.well-known go on as they did; one for the very path goes first.
func TestWellKnownMappingsStay(t *testing.T) {
	for name, test := range map[string]struct {
		mapping, path string
		login         bool
		want          string // what the backend sees; empty: nothing
	}{
		"another document":        {"/.well-known/", "/.well-known/openid-configuration", true, "/.well-known/openid-configuration"},
		"everything":              {"/", "/.well-known/anything", true, "/.well-known/anything"},
		"discovery below one":     {"/.well-known/", wellKnown + "/clusters/root:team", true, ""},
		"discovery below the top": {"/", wellKnown + "/clusters/root:team", true, ""},
		"the very path":           {wellKnown, wellKnown + "/clusters/root:team", true, wellKnown + "/clusters/root:team"},
		"off":                     {"/.well-known/", wellKnown + "/clusters/root:team", false, wellKnown + "/clusters/root:team"},
		"a longer name":           {"/.well-known/", wellKnown + "-2/clusters/root:team", true, wellKnown + "-2/clusters/root:team"},
		"another resource":        {"/.well-known/", wellKnown + "/other", true, wellKnown + "/other"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.shard(t, "root", false, nil)
			w.workspaces(s)
			backend := w.shard(t, "backend", false, nil)
			w.mapping = "\n- path: " + test.mapping + "\n  backend: " + backend.URL + routingtest.TLSEntry
			if test.login {
				w.withLogin(t)
			}
			f := w.front(t)
			res, body := do(t, f.client(t, true), http.MethodGet, f.URL+test.path, nil)
			if res.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", res.Status, body)
			}
			got := ""
			for _, r := range backend.take() {
				got += r.URI
			}
			if got != test.want {
				t.Errorf("the backend has seen %q, want %q", got, test.want)
			}
		})
	}
}

func TestLoginDiscoveryNeedsURLs(t *testing.T) {
	for _, urls := range [][]*url.URL{nil, {{Scheme: "https", Host: "kcp.example", Path: "/below/"}}} {
		if _, err := logindiscovery.New(logindiscovery.Config{URLs: urls}); err == nil || !strings.Contains(err.Error(), "--external-url") {
			t.Errorf("%v: %v", urls, err)
		}
	}
}
