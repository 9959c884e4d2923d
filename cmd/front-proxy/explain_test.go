package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
	"frontproxy/proxy/zpages"
)

// explainWorld is a proxy with a workspace type in front of a stand-in kcp.
type explainWorld struct {
	*runningProxy
	issuer *issuertest.Issuer
	debug  string
}

func newExplainWorld(t *testing.T, more ...string) *explainWorld {
	t.Helper()
	k := newKCP(t)
	w := &explainWorld{issuer: newIssuer(t), debug: "unix://" + filepath.Join(t.TempDir(), "debug.sock")}
	k.Root.PutConfiguration("root", "auth", trusting(w.issuer))
	k.Root.PutType("root", "team", "auth")
	for _, name := range []string{"one", "two"} {
		k.Root.PutWorkspace("root", name, "cluster0"+name, "root", "team", nil)
		k.Root.PutCluster("cluster0"+name, "root:team", nil)
	}
	args, url := arguments(t, k)
	w.runningProxy = startProxy(t, k, url, append(append(args, "--feature-gates=WorkspaceAuthentication=true", "--debug-address="+w.debug,
		"--token-auth-file="+file(t, "tokens.csv", []byte("operator-token,operator,1,"+standin.MetricsReader+"\nother-token,mallory,2,devs\n"))), more...))
	w.await(w.client(), "/clusters/root:one/api", w.token("alice", "ws"), http.StatusOK)
	return w
}

func (w *explainWorld) token(name, audience string, groups ...string) string {
	return w.issuer.Sign(issuertest.Claims{"sub": name, "aud": []string{audience}, "groups": groups})
}

// kubeconfig reaches the proxy with a token; path is the server's.
func (w *explainWorld) kubeconfig(token, path string) string {
	w.t.Helper()
	written.secret(token)
	name := filepath.Join(w.t.TempDir(), "kubeconfig")
	if err := harness.WriteKubeconfig(name, &rest.Config{Host: w.url + path, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: w.kcp.ServingCA.PEM}}); err != nil {
		w.t.Fatal(err)
	}
	return name
}

// refused asks with a bad token and returns the refusal's id.
func (w *explainWorld) refused(path, token string) string {
	w.t.Helper()
	written.secret(token)
	r, err := http.NewRequest(http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := w.client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var s struct{ Details struct{ UID string } }
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || resp.StatusCode != http.StatusUnauthorized || s.Details.UID == "" {
		w.t.Fatalf("%d, %v, %+v; want a refusal with an id", resp.StatusCode, err, s)
	}
	return s.Details.UID
}

// explain runs the subcommand.
func (w *explainWorld) explain(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(context.Background(), append([]string{"explain"}, args...), &out)
	return out.String(), err
}

func (w *explainWorld) explains(name string, args []string, want ...string) string {
	w.t.Helper()
	out, err := w.explain(args...)
	if err != nil {
		w.t.Errorf("%s: %v", name, err)
		return ""
	}
	for _, part := range want {
		if !strings.Contains(out, part) {
			w.t.Errorf("%s lacks %q:\n%s", name, part, out)
		}
	}
	return out
}

// TestExplainRefusal: the story of a refusal, for whom it may be told.
func TestExplainRefusal(t *testing.T) {
	w := newExplainWorld(t)
	bad := w.token("bob", "elsewhere")
	id := w.refused("/clusters/root:one/api/v1/pods", bad)
	operator := w.kubeconfig("operator-token", "/clusters/root")
	story := []string{
		"GET /clusters/root:one/api/v1/pods: refused (401)", "refusal " + id, "workspace          root:one (logical cluster cluster0one)", "shard              root",
		"workspace type     root:team\n", "issuer     " + w.issuer.URL(),
		`audience: the token is for ["elsewhere"], the configuration wants one of ["ws"]`, "workspaceauthenticationconfiguration/auth@",
		"configuration root/auth: Ready", "token-file not asked",
	}
	for name, args := range map[string][]string{
		"operator":      {id, "--kubeconfig=" + operator},
		"debug address": {id, "--debug-address=" + w.debug},
	} {
		out := w.explains(name, args, story...)
		if written.secrets.In([]byte(out)) != nil {
			t.Errorf("%s: a credential is in the story", name)
		}
	}
	var e zpages.Explanation
	if out := w.explains("json", []string{id, "--kubeconfig=" + operator, "-ojson"}); json.Unmarshal([]byte(out), &e) != nil || e.ID != id || e.Code != 401 || e.Place.Shard != "root" || len(e.Verdicts) != 2 {
		t.Errorf("JSON: %+v", e)
	}
	w.explains("yaml", []string{id, "--kubeconfig=" + operator, "-oyaml"}, "id: "+id, "outcome: refused")

	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a user without the right", []string{id, "--kubeconfig=" + w.kubeconfig("other-token", "")}, `User "mallory" cannot get path "/debug/explain"`},
		{"nobody knows the credential", []string{id, "--kubeconfig=" + w.kubeconfig("no-such-token", "")}, "Unauthorized"},
		{"a refusal that never was", []string{id + "zzz", "--kubeconfig=" + operator}, "no longer has refusal"},
		{"another instance's", []string{"pod-7-abc-1", "--kubeconfig=" + operator}, "ask the instance that its id begins with"},
		{"nothing asked", nil, "give the ID of a refusal, --path or --workspace"},
		{"a token as an argument", []string{"--path=/", "--token=x"}, "unknown flag: --token"},
	} {
		if out, err := w.explain(tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q; %s", tt.name, err, tt.want, out)
		}
	}
}

// TestExplainInWorkspace: a workspace's administrator is told of that workspace,
// without what is the operator's, and of nothing else.
func TestExplainInWorkspace(t *testing.T) {
	w := newExplainWorld(t)
	one := w.refused("/clusters/root:one/api/v1/pods", w.token("bob", "elsewhere"))
	two := w.refused("/clusters/root:two/api/v1/pods", w.token("bob", "elsewhere"))
	root := w.refused("/clusters/root/api/v1/pods", w.token("bob", "elsewhere"))
	admin := w.kubeconfig(w.token("carol", "ws", standin.WorkspaceAdmin), "/clusters/root:one")
	out := w.explains("own refusal", []string{one, "--workspace", "--kubeconfig=" + admin},
		"refused (401)", `audience: the token is for ["elsewhere"]`, "token-file not asked: only the operator of the proxy may see the reason", "configuration root/auth: Ready")
	if strings.Contains(out, "keys [") || strings.Contains(out, "client-certificate: Ready") {
		t.Errorf("the operator's part is told:\n%s", out)
	}
	for _, tt := range []struct{ name, id, kubeconfig, want string }{
		{"another workspace's refusal", two, admin, "no longer has refusal"},
		{"root's refusal", root, admin, "no longer has refusal"},
		{"a member, no administrator", one, w.kubeconfig(w.token("dave", "ws", "devs"), "/clusters/root:one"), `User "dave" cannot get path "/debug/explain" in this workspace`},
		{"nobody", one, w.kubeconfig(w.token("bob", "elsewhere"), "/clusters/root:one"), "Unauthorized"},
		{"no workspace named", one, w.kubeconfig("operator-token", ""), "contains no workspace"},
	} {
		if out, err := w.explain(tt.id, "--workspace", "--kubeconfig="+tt.kubeconfig); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q\n%s", tt.name, err, tt.want, out)
		}
	}
	// Below a workspace nothing is asked about credentials.
	r, err := http.NewRequest(http.MethodPost, w.url+"/clusters/root:one/debug/explain", strings.NewReader(`{"path":"/clusters/root:one/api"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token("carol", "ws", standin.WorkspaceAdmin))
	resp, err := w.client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST in a workspace: %d", resp.StatusCode)
	}
}

// TestExplainCredential: what becomes of a credential in hand, by the code that
// decides, also as if a configuration were applied.
func TestExplainCredential(t *testing.T) {
	w := newExplainWorld(t)
	other := newIssuer(t)
	operator := w.kubeconfig("operator-token", "")
	good := file(t, "good.jwt", []byte(w.token("alice", "ws", "devs", "system:masters")+"\n"))
	foreign := file(t, "foreign.jwt", []byte(other.Sign(issuertest.Claims{"sub": "zoe", "aud": []string{"ws"}})))
	configuration := func(i *issuertest.Issuer, name, url string) string {
		spec, err := json.Marshal(standin.Object{"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceAuthenticationConfiguration", "metadata": standin.Object{"name": name},
			"spec": standin.Object{"jwt": []standin.Object{{"issuer": standin.Object{"url": url, "audiences": []string{"ws"}, "certificateAuthority": i.CAPEM()},
				"claimMappings": standin.Object{"username": standin.Object{"claim": "sub", "prefix": "x:"}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		return file(t, "with.yaml", spec)
	}
	two := file(t, "two.yaml", []byte("apiVersion: tenancy.kcp.io/v1alpha1\nkind: WorkspaceType\nmetadata: {name: team}\nspec: {authenticationConfigurations: [{name: auth}, {name: gone}]}\n"))
	pair, err := w.kcp.ClientCA.Client(t.TempDir(), "eve", "devs")
	if err != nil {
		t.Fatal(err)
	}
	path := "--path=/clusters/root:one/api/v1/pods"
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"accepted", []string{path, "--token-file=" + good}, []string{"admitted (200)", "Forwarded as: alice", `groups ["devs" "system:authenticated"]`, `the guard removed group "system:masters"`, "accepted: valid until", "algorithm  ES256", "scopes"}},
		{"elsewhere", []string{"--path=/clusters/root/api", "--token-file=" + good}, []string{"refused (401)"}},
		{"no credential", []string{path}, []string{"refused (401)", "Credential: none"}},
		{"certificate", []string{path, "--certificate-file=" + pair.CertFile}, []string{"admitted (200)", "Forwarded as: eve", "client-certificate accepted"}},
		{"unknown workspace", []string{"--path=/clusters/root:nowhere/api"}, []string{"not routed (403)\n  root has no workspace nowhere. Next: check the path", "the client is told: forbidden:", "workspace access not permitted"}},
		{"ambiguous path", []string{"--path=/clusters/root%2Fone/api"}, []string{"not routed (400)\n  the request path is ambiguous: "}},
		{"no mapping", []string{"--path=/nothing"}, []string{"not routed (404)\n  no entry of the mapping file has the path. Next: "}},
		{"issuer nobody trusts", []string{path, "--token-file=" + foreign}, []string{"no configuration of the type trusts issuer"}},
		{"with it", []string{path, "--token-file=" + foreign, "--dry-run=" + configuration(other, "auth", other.URL())}, []string{"admitted (200)", "Forwarded as: x:zoe", "auth@(as given)"}},
		{"with one that nobody names", []string{path, "--token-file=" + foreign, "--dry-run=" + configuration(other, "new", other.URL())}, []string{"refused (401)", "Note: the type team does not name the configuration new"}},
		{"with an issuer out of bounds", []string{path, "--token-file=" + file(t, "m.jwt", []byte(other.Sign(issuertest.Claims{"iss": "https://169.254.169.254", "sub": "zoe", "aud": []string{"ws"}}))),
			"--dry-run=" + configuration(other, "auth", "https://169.254.169.254")}, []string{"undecided (503)", "link-local"}},
		{"with a type that names what is missing", []string{path, "--token-file=" + foreign, "--dry-run=" + two}, []string{"undecided (503)", "gone does not exist"}},
	} {
		out := w.explains(tt.name, append(tt.args, "--kubeconfig="+operator), tt.want...)
		if found := written.secrets.In([]byte(out)); found != nil {
			t.Errorf("%s: a credential is told: %v", tt.name, found)
		}
	}
	if out, err := w.explain(path, "--kubeconfig="+w.kubeconfig("other-token", "")); err == nil || !strings.Contains(err.Error(), `cannot post path "/debug/explain"`) {
		t.Errorf("without the right: %v %s", err, out)
	}
	w.await(w.client(), "/clusters/root:one/api", other.Sign(issuertest.Claims{"sub": "zoe", "aud": []string{"ws"}}), http.StatusUnauthorized) // nothing was applied
	w.explains("a change of another type", []string{"--path=/clusters/root/api", "--dry-run=" + two, "--kubeconfig=" + operator}, "Note: the workspace's type is root")
}

// TestDebugAddress: loopback and sockets only, and not for a name that somebody
// else's page could make mean loopback.
func TestDebugAddress(t *testing.T) {
	for _, address := range []string{"0.0.0.0:9443", ":9443", "10.0.0.1:9443", "localhost:9443", "[::]:9443", "unix://relative", "127.0.0.1"} {
		if _, err := debugListener(address); err == nil || !strings.Contains(err.Error(), "--debug-address") {
			t.Errorf("%s: %v", address, err)
		}
	}
	blocked := file(t, "file", []byte("x"))
	if _, err := debugListener("unix://" + blocked); err == nil {
		t.Error("a file is taken for a socket")
	}
	if l, err := debugListener("[::1]:0"); err == nil {
		_ = l.Close()
	}
	socket := filepath.Join(t.TempDir(), "s")
	for range 2 { // the second time it is left over
		l, err := debugListener("unix://" + socket)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("socket: %v %v", info, err)
		}
		if _, err := debugListener("unix://" + socket); err == nil {
			t.Error("a socket in use is taken over")
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = l.Close()
	}

	w := newExplainWorld(t)
	client := newDebugClient(w.debug).client
	for _, tt := range []struct {
		method, host, path string
		want               int
	}{
		{"GET", "localhost", "/statusz", 200}, {"GET", "127.0.0.1:1", "/flagz", 200}, {"GET", "[::1]", "/metrics", 200}, {"GET", "evil.example", "/statusz", 403},
		{"GET", "localhost", "/clusters/root/api", 404}, {"POST", "localhost", "/statusz", 404}, {"GET", "localhost", "/debug/explain/x", 404}, {"DELETE", "localhost", "/debug/explain", 405},
	} {
		r, err := http.NewRequest(tt.method, "http://localhost"+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tt.host
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s as %s: %d, want %d: %.200s", tt.method, tt.path, tt.host, resp.StatusCode, tt.want, body)
		}
	}
}

// TestPages: /statusz and /flagz, in text and JSON, for whom root allows.
func TestPages(t *testing.T) {
	w := newExplainWorld(t)
	w.kcp.Root.PutConfiguration("root", "broken", standin.Object{"issuer": standin.Object{"url": "http://plain"}})
	w.kcp.Root.PutType("root", "other", "broken")
	page := func(path, token, accept string) (int, string, string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		resp, err := w.client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(body)
	}
	for _, path := range []string{"/statusz", "/flagz"} {
		for token, want := range map[string]int{"": 401, "other-token": 403, "operator-token": 200} {
			if code, _, body := page(path, token, ""); code != want {
				t.Errorf("%s with %q: %d, want %d: %s", path, token, code, want, body)
			}
		}
	}
	var s zpages.Statusz
	deadline := time.Now().Add(20 * time.Second)
	for s.Status.ConfigurationCounts["Broken"] != 1 && time.Now().Before(deadline) {
		_, kind, body := page("/statusz", "operator-token", "application/json;v=v1alpha1;g=config.k8s.io;as=Statusz")
		if err := json.Unmarshal([]byte(body), &s); err != nil || kind != "application/json" {
			t.Fatalf("%v %s %s", err, kind, body)
		}
	}
	if s.Kind != "Statusz" || s.APIVersion != "config.k8s.io/v1alpha1" || s.BinaryVersion != version || s.StartTime.IsZero() {
		t.Errorf("the head: %+v", s.Statusz)
	}
	_, kind, text := page("/statusz", "operator-token", "")
	for _, want := range []string{"\nfront-proxy statusz\nWarning:", "Binary version: " + version, "  root  synced  ", "workspace  " + w.issuer.URL(), "Ready", "Broken", "other", "tls-cert-file", "client-ca", "(root)"} {
		if !strings.Contains(text, want) {
			t.Errorf("statusz lacks %q:\n%s", want, text)
		}
	}
	if !strings.HasPrefix(kind, "text/plain") {
		t.Errorf("statusz is %s", kind)
	}
	_, _, flags := page("/flagz", "operator-token", "text/plain")
	for _, want := range []string{"\nfront-proxy flagz\nWarning:", "\nsecure-port=", "\nfeature-gates=WorkspaceAuthentication=true\n"} {
		if !strings.Contains(flags, want) {
			t.Errorf("flagz lacks %q:\n%s", want, flags)
		}
	}
	if found := written.secrets.In([]byte(flags + text)); found != nil || strings.Contains(flags+text, "operator-token") || strings.Contains(flags+text, "PRIVATE KEY") {
		t.Errorf("a page has a secret: %v", found)
	}
}

// TestFlagsHoldNoSecret: a flag that looks like one that holds a secret names a
// file, or it is classified.
func TestFlagsHoldNoSecret(t *testing.T) {
	o, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{ // looked at: none holds a secret
		"service-account-keys-from-shards": true, "service-account-extend-token-expiration": true, "service-account-max-token-expiration": true,
		"authentication-token-webhook-cache-ttl": true, "authentication-token-webhook-version": true, "tls-sni-cert-key": true,
	}
	for name := range flagValues(o.all) {
		for _, suspect := range []string{"token", "secret", "password", "key", "credential"} {
			if strings.Contains(name, suspect) && !strings.HasSuffix(name, "-file") && !known[name] && len(o.all.Lookup(name).Annotations["classified"]) == 0 {
				t.Errorf("--%s: look whether it holds a secret; if so, classify it", name)
			}
		}
	}
}

// TestExplainDoc: the example in docs/explain.md is what is printed.
func TestExplainDoc(t *testing.T) {
	w := newExplainWorld(t)
	id := w.refused("/clusters/root:one/api/v1/pods", w.token("bob", "elsewhere"))
	out, err := w.explain(id, "--kubeconfig="+w.kubeconfig("operator-token", ""))
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.LastIndexByte(id, '-')
	for _, r := range []struct{ pattern, with string }{
		{regexp.QuoteMeta(id), "<id>"}, {regexp.QuoteMeta(id[:cut]), "<instance>"}, {regexp.QuoteMeta(w.issuer.URL()), "<issuer>"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "<time>"}, {`@\d+`, "@<version>"},
	} {
		out = regexp.MustCompile(r.pattern).ReplaceAllString(out, r.with)
	}
	doc, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(doc), "$ front-proxy explain <id> --kubeconfig=admin.kubeconfig\n")
	example, _, _ = strings.Cut(example, "```")
	if diff := cmp.Diff(example, out); diff != "" {
		t.Errorf("docs/explain.md (-doc +printed):\n%s", diff)
	}
}

// metric is the line of /metrics that begins so.
func (w *explainWorld) metric(prefix string) string {
	w.t.Helper()
	resp, err := newDebugClient(w.debug).client.Get("http://localhost/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	page, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

// TestRefusedAccountsExplained: operators find why a service account token was
// refused in the story, the log and the metric; clients do not.
func TestRefusedAccountsExplained(t *testing.T) {
	t.Parallel()
	const home = "accounts00000001"
	k := newKCP(t)
	key, stranger := keyPair(t, k, "root"), keyPair(t, k, "stranger")
	if err := k.Root.PublishKeys(key); err != nil {
		t.Fatal(err)
	}
	k.Root.PutWorkspace("root", "ws", home, "root", "team", nil)
	k.Root.PutCluster(home, "root:team", nil)
	k.Root.PutServiceAccount(home, "default", "bot", "bot-uid")
	args, url := arguments(t, k)
	w := &explainWorld{debug: "unix://" + filepath.Join(t.TempDir(), "debug.sock")}
	w.runningProxy = startProxy(t, k, url, append(args, "--service-account-keys-from-shards", "--debug-address="+w.debug))
	w.await(w.client(), "/clusters/root:ws/api", boundToken(t, key, home), http.StatusOK)
	w.await(w.client(), "/clusters/root:ws/api", boundToken(t, stranger, home), http.StatusUnauthorized)
	for _, tt := range []struct{ name, token, reason, want string }{
		{"unknown key", boundToken(t, stranger, home), "unknown_key", "publishes no key with the id"},
		{"unknown home", boundToken(t, key, "nowhere000000001"), "home_unknown", "no shard has the token's logical cluster nowhere000000001"},
		{"audience", boundTokenFor(t, key, home, "vault"), "audience", "vault"},
		{"account gone", "", "account_gone", "does not exist in logical cluster " + home},
	} {
		if tt.token == "" {
			k.Root.RemoveServiceAccount(home, "default", "bot")
			tt.token = boundToken(t, key, home)
			w.await(w.client(), "/clusters/root:ws/api", tt.token, http.StatusUnauthorized)
		}
		id := w.refused("/clusters/root:ws/api", tt.token)
		w.explains(tt.name, []string{id, "--debug-address=" + w.debug}, "service-accounts refused: ", tt.want)
		logged(t, `"Request"`, `refusal="`+id, tt.want)
		counted := w.metric(`front_proxy_service_account_refusals_total{reason="` + tt.reason + `"}`)
		if counted == "" {
			t.Errorf("%s: no metric with reason %s", tt.name, tt.reason)
		}
		w.explains("in hand", []string{"--path=/clusters/root:ws/api", "--token-file=" + file(t, "token", []byte(tt.token)), "--debug-address=" + w.debug}, tt.want)
		if again := w.metric(`front_proxy_service_account_refusals_total{reason="` + tt.reason + `"}`); again != counted {
			t.Errorf("what is only explained is counted: %s, then %s", counted, again)
		}
	}
	written.mu.Lock()
	defer written.mu.Unlock()
	if told := written.answers.String(); strings.Contains(told, "publishes no key") || strings.Contains(told, "--api-audiences") || strings.Contains(told, "logical cluster "+home) {
		t.Error("a client is told why")
	}
	resp, err := newDebugClient(w.debug).client.Get("http://localhost/statusz")
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if !strings.Contains(string(page), "Service account keys of shards") {
		t.Errorf("statusz has no keys of shards:\n%s", page)
	}
}

// TestExplainFindsTheReplica: behind one address the refusal is asked for until
// the replica that has it answers; one that nobody has ends the search.
func TestExplainFindsTheReplica(t *testing.T) {
	for _, tt := range []struct {
		name      string
		elsewhere int // answers of other replicas before the right one
		asked     int
		want      string // of the error
	}{{"at once", 0, 1, ""}, {"the fifth", 4, 5, ""}, {"none", 1000, replicaTries, "set --server to it"}} {
		t.Run(tt.name, func(t *testing.T) {
			var asked, connections atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if int(asked.Add(1)) > tt.elsewhere {
					_, _ = io.WriteString(w, `{"instance":"pod-2"}`)
					return
				}
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, `{"kind":"Status","reason":"OtherInstance","message":"not mine"}`)
			}))
			server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateNew {
					connections.Add(1)
				}
			}
			server.StartTLS()
			t.Cleanup(server.Close)
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			a, err := newProxyClient(&rest.Config{Host: server.URL + "/clusters/root", TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, "", "", false)
			if err != nil {
				t.Fatal(err)
			}
			e, err := a.explain(t.Context(), "pod-2-x-1", nil)
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) || err == nil && e.Instance != "pod-2" {
				t.Errorf("%+v, %v", e, err)
			}
			if int(asked.Load()) != tt.asked || asked.Load() != connections.Load() {
				t.Errorf("asked %d times on %d connections, want %d on as many", asked.Load(), connections.Load(), tt.asked)
			}
		})
	}
}

// FuzzReadChange: whatever the file has, an object that is taken has a name.
func FuzzReadChange(f *testing.F) {
	f.Add([]byte("kind: WorkspaceType\nmetadata: {name: a}\nspec: {authenticationConfigurations: [{name: b}]}\n---\nkind: WorkspaceAuthenticationConfiguration\nmetadata: {name: c}\nspec: {jwt: []}\n"))
	f.Add([]byte("{"))
	f.Add([]byte("---\n---\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, _, err := readChange(text)
		if err != nil {
			return
		}
		if len(c.Types)+len(c.Configurations) == 0 {
			t.Error("no object and no error")
		}
		if _, nameless := c.Types[""]; nameless {
			t.Error("a type without a name")
		}
		if _, err := json.Marshal(zpages.ExplainRequest{Path: "/", Change: c}); err != nil {
			t.Errorf("cannot be asked: %v", err)
		}
	})
}
