package main

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// tenants makes workspaces with a type and configurations of their own.
type tenants struct {
	k *standin.KCP
	n int
}

// add makes a workspace root:<name> of a type with one configuration per entry.
func (s *tenants) add(name string, jwt ...standin.Object) (path string) {
	s.n++
	s.k.Root.PutConfiguration("root", name, jwt...)
	s.k.Root.PutType("root", name, name)
	cluster := clusterName(s.n)
	s.k.Root.PutWorkspace("root", name, cluster, "root", name, nil)
	s.k.Root.PutCluster(cluster, "root:"+name, nil)
	return "/clusters/root:" + name + "/api"
}

// undecided asks with a token and returns the answer's body, which must be
// a 503 with Retry-After.
func (p *runningProxy) undecided(c *http.Client, path, token string) string {
	p.t.Helper()
	p.await(c, path, token, http.StatusServiceUnavailable)
	r, err := http.NewRequest(http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	written.answer(body)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		p.t.Errorf("%s answers %d %v %s, want 503 with Retry-After", path, resp.StatusCode, resp.Header, body)
	}
	return string(body)
}

// TestIssuersOutOfBounds: a configuration whose URLs lead where nothing may
// go, or to documents that nobody may believe, admits nobody. Its tokens are
// undecided; operators find the reason in the log and the caller none.
func TestIssuersOutOfBounds(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	args, proxyURL := arguments(t, k)
	elsewhere := newIssuer(t)
	at := func(url string) *issuertest.Issuer { // one that says it is there
		return issuertest.Serve(t, issuertest.Options{Name: url})
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(proxyURL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	redirects := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	huge := func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(`{"keys":[` + strings.Repeat(" ", 1<<16))
		for range 64 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	handling := func(path string, h http.HandlerFunc) func() *issuertest.Issuer {
		return func() *issuertest.Issuer { i := newIssuer(t); i.Handle(path, h); return i }
	}
	cases := map[string]struct {
		issuer    func() *issuertest.Issuer
		discovery string // discoveryURL in the configuration
		logged    string
	}{
		"metadata":           {issuer: func() *issuertest.Issuer { return at("https://169.254.169.254") }, logged: "169.254.169.254 is link-local"},
		"metadata-v6":        {issuer: func() *issuertest.Issuer { return at("https://[fd00:ec2::254]") }, logged: "fd00:ec2::254 is a cloud metadata service"},
		"metadata-mapped":    {issuer: func() *issuertest.Issuer { return at("https://[::ffff:169.254.169.254]") }, logged: "169.254.169.254 is link-local"},
		"metadata-nat64":     {issuer: func() *issuertest.Issuer { return at("https://[64:ff9b::6464:64c8]") }, logged: "100.100.100.200 is a cloud metadata service"},
		"unspecified":        {issuer: func() *issuertest.Issuer { return at("https://0.0.0.0:" + port) }, logged: "0.0.0.0 is unspecified"},
		"multicast":          {issuer: func() *issuertest.Issuer { return at("https://224.0.0.1") }, logged: "224.0.0.1 is multicast"},
		"the-proxy":          {issuer: func() *issuertest.Issuer { return at(proxyURL) }, logged: "127.0.0.1:" + port + " is this proxy's own listener"},
		"the-proxy-by-name":  {issuer: func() *issuertest.Issuer { return at("https://localhost:" + port) }, logged: "127.0.0.1:" + port + " is this proxy's own listener"},
		"discovery-there":    {issuer: func() *issuertest.Issuer { return at("https://issuer.example") }, discovery: "https://169.254.169.254/d", logged: "169.254.169.254 is link-local"},
		"redirect-elsewhere": {issuer: handling(issuertest.DiscoveryPath, redirects(elsewhere.DiscoveryURL())), logged: "redirect to another host"},
		"keys-elsewhere":     {issuer: handling(issuertest.KeysPath, redirects(elsewhere.KeysURL())), logged: "redirect to another host"},
		"redirect-to-plain":  {issuer: handling(issuertest.KeysPath, redirects("http://127.0.0.1/keys")), logged: "redirect away from https"},
		"huge-discovery":     {issuer: handling(issuertest.DiscoveryPath, huge), logged: "larger than 1048576 bytes"},
		"huge-keys":          {issuer: handling(issuertest.KeysPath, huge), logged: "larger than 1048576 bytes"},
		"keys-at-metadata": {issuer: func() *issuertest.Issuer {
			i := newIssuer(t)
			i.EditDiscovery(func(d map[string]any) { d["jwks_uri"] = "https://168.63.129.16/keys" })
			return i
		}, logged: "168.63.129.16 is a cloud metadata service"},
	}
	p, s := (*runningProxy)(nil), &tenants{k: k}
	paths, issuers := map[string]string{}, map[string]*issuertest.Issuer{}
	for name, tt := range cases {
		issuers[name] = tt.issuer()
		jwt := trusting(issuers[name])
		if tt.discovery != "" {
			jwt["issuer"].(standin.Object)["discoveryURL"] = tt.discovery
		}
		paths[name] = s.add(name, jwt)
	}
	good := newIssuer(t)
	paths["good"] = s.add("good", trusting(good))
	p = startProxy(t, k, proxyURL, append(args, "--feature-gates=WorkspaceAuthentication=true"))
	client := p.client()
	p.await(client, paths["good"], good.Sign(issuertest.Claims{"sub": "alice", "aud": "ws"}), http.StatusOK)

	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			i := issuers[name]
			p := &runningProxy{t: t, kcp: k, url: proxyURL}
			body := p.undecided(client, paths[name], i.Sign(issuertest.Claims{"sub": "alice", "aud": "ws"}))
			for _, told := range []string{"egress", "redirect", "larger", "link-local", "metadata service", "listener", hostOf(t, i.URL())} {
				if strings.Contains(body, told) {
					t.Errorf("the caller is told %q: %s", told, body)
				}
			}
			logged(t, i.URL(), tt.logged)
		})
	}
	if n := elsewhere.Discoveries() + elsewhere.KeyFetches(); n != 0 {
		t.Errorf("another host was asked %d times by way of redirects", n)
	}
	unlogged(t, `path="/.well-known/openid-configuration`, `"Request"`) // the proxy asked itself nothing
}

func hostOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Hostname()
}

// TestEgressFlags: the operator's lists decide about private ranges, by the
// smallest network; what they refuse is never dialled, for mounts as well.
func TestEgressFlags(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		flags   []string
		reached bool
	}{
		"default":             {nil, true},
		"denied":              {[]string{"--workspace-egress-deny-cidrs=127.0.0.0/8"}, false},
		"all denied":          {[]string{"--workspace-egress-deny-cidrs=0.0.0.0/0,::/0"}, false},
		"denied, one allowed": {[]string{"--workspace-egress-deny-cidrs=0.0.0.0/0,::/0", "--workspace-egress-allow-cidrs=127.0.0.1/32"}, true},
		"allowed, one denied": {[]string{"--workspace-egress-allow-cidrs=127.0.0.0/8", "--workspace-egress-deny-cidrs=127.0.0.1/32"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKCP(t)
			issuer, mount := newIssuer(t), newDoor(t)
			s := &tenants{k: k}
			path := s.add("team", trusting(issuer))
			k.Root.PutWorkspace("root", "mounted", "", "", "", standin.Object{
				"mount": standin.Object{"ref": standin.Object{"apiVersion": "v1", "kind": "Mount", "name": "m"}}, "URL": mount.url})
			args, url := arguments(t, k)
			p := startProxy(t, k, url, append(append(args, "--feature-gates=WorkspaceAuthentication=true"), tt.flags...))
			client, token := p.client(), issuer.Sign(issuertest.Claims{"sub": "alice", "aud": "ws"})
			if tt.reached {
				p.await(client, path, token, http.StatusOK)
			} else {
				p.undecided(client, path, token)
				logged(t, issuer.URL(), "egress refused: 127.0.0.1 is in the denied range")
			}
			// The mount's host is a stranger's with no certificate of ours: it does not
			// get beyond the handshake, but whether it was dialled can be seen.
			p.await(client, "/clusters/root:mounted/api", token, http.StatusServiceUnavailable)
			if got := mount.knocks.Load() > 0; got != tt.reached {
				t.Errorf("the mount's host was dialled: %t, want %t", got, tt.reached)
			}
			if got := issuer.Discoveries() > 0; got != tt.reached {
				t.Errorf("the issuer was asked: %t, want %t", got, tt.reached)
			}
		})
	}
}
