package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/http/httpguts"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/identityheaders"
	"frontproxy/proxy/routing/routingtest"
)

// spellings are ways to write a header name that some reader folds into it.
func spellings(name string) []string {
	return []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), strings.Replace(strings.ToLower(name), "-", "_", 1)}
}

// TestDropsIdentityHeadersOfClients sends identity headers in every spelling and by
// every route; what the shard reads and what it could misread are checked.
func TestDropsIdentityHeadersOfClients(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.mapping = "- path: /custom/\n  backend: " + s.URL + "\n  user_header: X-Who\n  group_header: X-Team\n  extra_header_prefix: X-More-\n  uid_header: X-Id" + routingtest.TLSEntry
	f := w.front(t)
	var lines []string
	for _, name := range []string{"X-Remote-User", "X-Remote-Group", "X-Remote-Uid", "X-Remote-Extra-Authentication.kcp.io%2fscopes",
		"X-Remote-Extra-foo", "X-Remote-Extra-", "X-Who", "X-Team", "X-Id", "X-More-foo"} {
		for _, spelling := range spellings(name) {
			lines = append(lines, spelling+": system:masters")
		}
	}
	all := strings.Join(lines, "\r\n") + "\r\n"
	const end = "\r\n"
	for _, tt := range []struct{ name, request string }{
		{"plain", "GET PATH HTTP/1.1\r\nHost: h\r\n" + all + end},
		{"named in Connection", "GET PATH HTTP/1.1\r\nHost: h\r\nConnection: X-Remote-User, X-Remote-Group, X-Remote-Extra-Authentication.kcp.io%2fscopes, " +
			"X-Remote-Extra-authentication.kcp.io%2fcluster-name, X-Remote-Uid, X-Who, X-Team, X-Id\r\n" + all + end},
		{"named in Connection without being there", "GET PATH HTTP/1.1\r\nHost: h\r\nConnection: x-remote-user,x-remote-extra-authentication.kcp.io%2fscopes\r\nConnection: X-Who\r\n" + end},
		{"in announced trailers", "POST PATH HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTrailer: X-Remote-User, X-Remote-Group, X-Who\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Remote-User: admin\r\nX-Remote-Group: system:masters\r\nX-Who: admin\r\n\r\n"},
		{"in other trailers", "POST PATH HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Remote-User: admin\r\nX-Remote-Group: system:masters\r\n\r\n"},
		{"twice", "GET PATH HTTP/1.1\r\nHost: h\r\n" + all + all + end},
	} {
		for _, path := range []string{"/clusters/root:ws/api", "/custom/x"} {
			t.Run(tt.name+" "+path, func(t *testing.T) {
				res, body := f.raw(t, strings.Replace(tt.request, "PATH", path, 1))
				if res.StatusCode != 200 {
					t.Fatalf("answer %d %s", res.StatusCode, body)
				}
				got := s.one(t)
				checkIdentity(t, got, path == "/custom/x")
			})
		}
	}
}

// checkIdentity reports whether a shard has seen alice and nothing else.
func checkIdentity(t *testing.T, got seen, custom bool) {
	t.Helper()
	h := got.Header.Clone()
	if custom {
		for from, to := range map[string]string{"X-Who": "X-Remote-User", "X-Team": "X-Remote-Group", "X-Id": "X-Remote-Uid"} {
			h[to] = h[from]
			delete(h, from)
		}
		for k, v := range h {
			if rest, ok := strings.CutPrefix(k, "X-More-"); ok {
				h["X-Remote-Extra-"+rest] = v
				delete(h, k)
			}
		}
	}
	u, err := readIdentity(h)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(alice, u); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	for k, v := range h {
		if slices.Contains(v, "system:masters") || strings.Contains(k, "_") || identityheaders.Same(k, "Trailer") {
			t.Errorf("header %s: %v reached the shard", k, v)
		}
	}
	if len(got.Trailer) != 0 {
		t.Errorf("trailers %v reached the shard", got.Trailer)
	}
}

// TestDropsIdentityHeadersOfHTTP2Clients does the same over HTTP/2, where names are
// lower case and Connection does not exist.
func TestDropsIdentityHeadersOfHTTP2Clients(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	f := w.front(t)
	body := "x"
	r, err := http.NewRequest("POST", f.URL+"/clusters/root:ws/api", io.NopCloser(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X-Remote-User", "X-Remote-Group", "X-Remote-Uid", "X-Remote-Extra-Authentication.kcp.io%2fscopes"} {
		for _, spelling := range spellings(name) {
			r.Header[spelling] = []string{"system:masters"}
		}
	}
	r.Trailer = http.Header{"X-Remote-User": {"system:masters"}, "X-Remote-Group": {"system:masters"}}
	res, err := f.client(t, true).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	checkIdentity(t, s.one(t), false)
}

func TestAcceptedTokensAreNotForwarded(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	f := w.front(t)
	f.raw(t, "GET /clusters/root:ws/api HTTP/1.1\r\nHost: h\r\nauthorization: Bearer secret\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n")
	got := s.one(t)
	if diff := cmp.Diff([]string{"v4.channel.k8s.io, v5.channel.k8s.io"}, got.Header["Sec-Websocket-Protocol"]); diff != "" || got.Header.Get("Authorization") != "" {
		t.Errorf("protocols (-want +got):\n%s\nauthorization %q", diff, got.Header.Get("Authorization"))
	}
	checkIdentity(t, got, false)
}

// TestPassThroughForwardsBothKindsOfToken: who passes through keeps both kinds of token.
func TestPassThroughForwardsBothKindsOfToken(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.decide = func(context.Context, authn.Request) *authn.Decision {
		return &authn.Decision{PassThrough: true, Status: 200}
	}
	f := w.front(t)
	f.raw(t, "GET /clusters/root:ws/api HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Remote-User: admin\r\n"+
		"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io\r\n\r\n")
	got := s.one(t)
	if p := got.Header.Get("Sec-Websocket-Protocol"); !strings.Contains(p, "c2VjcmV0") || got.User != nil {
		t.Errorf("protocols %q, identity %v", p, got.User)
	}
}

// TestRefusesAmbiguousRequests: what two readers could take for different requests is refused
// before it gets anywhere.
func TestRefusesAmbiguousRequests(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	f := w.front(t)
	const path = "/clusters/root:ws/api"
	for name, request := range map[string]string{
		"two lengths":                  "POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"unknown transfer encoding":    "POST " + path + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"two transfer encodings":       "POST " + path + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"signed length":                "POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
		"two hosts":                    "GET " + path + " HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
		"no host":                      "GET " + path + " HTTP/1.1\r\n\r\n",
		"space before the colon":       "GET " + path + " HTTP/1.1\r\nHost: h\r\nX-Remote-User : admin\r\n\r\n",
		"control byte in the path":     "GET " + path + "\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
		"space in the path":            "GET " + path + " x HTTP/1.1\r\nHost: h\r\n\r\n",
		"fragment":                     "GET " + path + "#/.. HTTP/1.1\r\nHost: h\r\n\r\n",
		"OPTIONS of all":               "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
		"CONNECT":                      "CONNECT shard:6443 HTTP/1.1\r\nHost: shard:6443\r\n\r\n",
		"CONNECT with a path":          "CONNECT //x HTTP/1.1\r\nHost: h\r\n\r\n",
		"absolute form without a path": "GET https://h HTTP/1.1\r\nHost: h\r\n\r\n",
		"h2c":                          "GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
		"h2c beside websocket":         "GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
		"two upgrades":                 "GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
		"upgrade without Connection":   "GET " + path + " HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n",
		"TLS upgrade":                  "GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			res, body := f.raw(t, request)
			if res.StatusCode != 400 && res.StatusCode != 501 {
				t.Errorf("answer %d %s", res.StatusCode, body)
			}
			if got := s.take(); len(got) != 0 {
				t.Errorf("it reached the shard: %+v", got)
			}
		})
	}
}

// TestLengthAndChunks: with both, the chunks count (RFC 9112, section 6.3),
// here and in what the shard gets.
func TestLengthAndChunks(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	f := w.front(t)
	conn := f.dial(t)
	if _, err := io.WriteString(conn, "POST /clusters/root:ws/one HTTP/1.1\r\nHost: h\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+
		"GET /clusters/root:ws/two HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	for _, got := range s.take() {
		if got.Header.Get("Content-Length") != "" || !strings.HasPrefix(got.URI, "/clusters/2kd9/") {
			t.Errorf("the shard got %s %v", got.URI, got.Header)
		}
	}
}

func TestAbsoluteForm(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	f := w.front(t)
	res, _ := f.raw(t, "GET https://real.example/clusters/root:ws/api/a%2Fb?x HTTP/1.1\r\nHost: other.example\r\n\r\n")
	if got := s.one(t); res.StatusCode != 200 || got.URI != "/clusters/2kd9/api/a%2Fb?x" || got.Host != "real.example" {
		t.Errorf("answer %d, shard got %s at %s", res.StatusCode, got.URI, got.Host)
	}
}

func TestBigToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shard(t, "shard-1", false, nil)
	w.decide = func(context.Context, authn.Request) *authn.Decision { return &authn.Decision{Status: 401} }
	f := w.front(t)
	for _, http2 := range []bool{false, true} {
		res, body := do(t, f.client(t, http2), "GET", f.URL+"/clusters/root:ws/api", http.Header{"Authorization": {"Bearer " + strings.Repeat("x", 1<<20)}})
		if res.StatusCode != 401 {
			t.Errorf("HTTP/2 %v: answer %d %s", http2, res.StatusCode, body)
		}
	}
}

// FuzzIdentity: for whatever header a client sends and whatever identity was
// decided, apiserver's own authenticator reads that identity at the other end.
func FuzzIdentity(f *testing.F) {
	var got http.Header
	shard := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }))
	f.Cleanup(shard.Close)
	base, err := url.Parse(shard.URL)
	if err != nil {
		f.Fatal(err)
	}
	headers := identityheaders.New(identityheaders.DefaultUser, identityheaders.DefaultGroup, identityheaders.DefaultExtra, identityheaders.DefaultUID)
	p := &Proxy{buffers: copyBuffers{large: newBufferPool(copyBuffer)}, streams: streamSupervisor{set: newStreamSet()}}
	f.Add("X-Remote-User", "admin", "Connection", "X-Remote-User", "alice", "dev", "u1", "authentication.kcp.io/scopes", "cluster:x")
	f.Add("x_remote_group", "system:masters", "Trailer", "X-Remote-Group", "ü", "a b", "", "%2f", "")
	f.Add("X-Remote-Extra-%66oo", "1", "X-REMOTE-EXTRA-Foo", "2", "a:b", "-", "x", "Foo\x00/ü", "a,b")
	f.Add("0 ", "0", "0", "0", "0", "0", "0", "0", "0")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2, name, group, uid, extraKey, extraValue string) {
		for _, v := range []string{name, group, uid, extraValue} {
			if strings.TrimSpace(v) != v || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
				t.Skip() // refused by the guard
			}
		}
		if name == "" || group == "" || extraKey == "" {
			t.Skip() // the same
		}
		want := &user.DefaultInfo{Name: name, Groups: []string{group, "system:authenticated"}, UID: uid, Extra: map[string][]string{extraKey: {extraValue, "2"}}}
		x := p.newExchange()
		x.dest = destination.Destination{Kind: destination.Backend, Exposure: destination.Trusted, Headers: headers, Transport: http.DefaultTransport, Base: base, Path: "/"}
		x.decision, x.forwardedUser = &authn.Decision{User: want, Status: 200}, want
		in := httptest.NewRequest("GET", "/", nil)
		raw := fmt.Sprintf("GET / HTTP/1.1\r\nHost: h\r\n%s: %s\r\n%s: %s\r\n\r\n", key1, value1, key2, value2)
		sent, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil || sent.Header.Get("Expect") != "" || sent.Header.Get("Upgrade") != "" {
			return // the server refuses it, or it is none of this test
		}
		for name := range sent.Header {
			if !httpguts.ValidHeaderFieldName(name) {
				return // the server refuses it, though http.ReadRequest does not
			}
		}
		in.Header = sent.Header
		got = nil
		rec := httptest.NewRecorder()
		x.forward(rec, in)
		if got == nil {
			return // refused by the transport or the shard
		}
		u, err := readIdentity(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, u, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("sent %q; identity (-want +got):\n%s", raw, diff)
		}
	})
}

// TestDropsIdentityHeadersOfOtherProxies: by whatever a client spells them, and wherever
// the request goes; what names the way of a request goes on.
func TestDropsIdentityHeadersOfOtherProxies(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.mapping = "- path: /custom/\n  backend: " + s.URL + "\n  user_header: X-Forwarded-User" + routingtest.TLSEntry
	f := w.front(t)
	names := []string{"X-Forwarded-Client-Cert", "X-Forwarded-User", "Client-Cert", "Remote-User", "X-Auth-Request-Email", "X-Ssl-Client-Verify",
		"Cf-Access-Jwt-Assertion", "X-Http-Method-Override", "X-Original-Url", "X-Forwarded-Uri"}
	var lines []string
	for _, name := range names {
		for _, spelling := range spellings(name) {
			lines = append(lines, spelling+": a-clients-word")
		}
	}
	goOn := []string{"X-Forwarded-Proto: http", "X-Forwarded-Host: front.example", "Forwarded: for=1.2.3.4", "X-Request-Id: 7", "X-Method: a-header-of-somebody"}
	for _, path := range []string{"/clusters/root:ws/api", "/custom/x"} {
		for _, more := range []string{"", "Connection: X-Forwarded-User, X-Http-Method-Override\r\n"} {
			res, body := f.raw(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\n"+more+strings.Join(append(lines, goOn...), "\r\n")+"\r\n\r\n")
			if res.StatusCode != 200 {
				t.Fatalf("answer %d %s", res.StatusCode, body)
			}
			got := s.one(t)
			for key, values := range got.Header {
				if slices.Contains(values, "a-clients-word") {
					t.Errorf("%s: header %s reached the server", path, key)
				}
			}
			for _, line := range goOn {
				if name, value, _ := strings.Cut(line, ": "); got.Header.Get(name) != value {
					t.Errorf("%s: header %s is %q, want %q", path, name, got.Header.Get(name), value)
				}
			}
			if user := got.Header.Get("X-Forwarded-User"); path == "/custom/x" && user != "alice" {
				t.Errorf("the header that the mapping names says %q", user)
			}
		}
	}
}
