package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

// secondLine is the line with the answer and the next step.
func secondLine(out string) string {
	_, rest, _ := strings.Cut(out, "\n")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// answersWorld is a proxy whose types are in a workspace below root.
func answersWorld(t *testing.T, more ...string) (w *explainWorld, far *standin.Shard) {
	t.Helper()
	const org = "org0000000000001"
	k := newKCP(t)
	far = addShard(t, k, "shard-1")
	w = &explainWorld{issuer: newIssuer(t), debug: "unix://" + filepath.Join(t.TempDir(), "debug.sock")}
	k.Root.PutWorkspace("root", "org", org, "root", "universal", nil)
	k.Root.PutCluster(org, "root:universal", nil)
	k.Root.PutConfiguration(org, "auth", trusting(w.issuer))
	k.Root.PutType(org, "team", "auth")
	for name, shard := range map[string]*standin.Shard{"one": k.Root, "far": far} {
		k.Root.PutWorkspace(org, name, "cluster0"+name, "root:org", "team", nil)
		shard.PutCluster("cluster0"+name, "root:org:team", nil)
	}
	args, url := arguments(t, k)
	w.runningProxy = startProxy(t, k, url, append(append(args, "--debug-address="+w.debug, "--token-auth-file="+file(t, "tokens.csv", []byte("operator-token,operator,1,"+standin.MetricsReader+"\n"))), more...))
	w.await(w.client(), "/clusters/root:org:one/api", "operator-token", http.StatusOK)
	w.await(w.client(), "/clusters/root:org:far/api", "operator-token", http.StatusOK)
	return w, far
}

// answer asks at the debug address and returns the second line.
func (w *explainWorld) answer(args ...string) (line, all string) {
	w.t.Helper()
	out, err := w.explain(append(args, "--debug-address="+w.debug)...)
	if err != nil {
		w.t.Fatalf("%q: %v", args, err)
	}
	return secondLine(out), out
}

// TestExplainAnswers: the second line has the answer and the next step.
func TestExplainAnswers(t *testing.T) {
	t.Parallel()
	w, _ := answersWorld(t, "--feature-gates=WorkspaceAuthentication=true")
	w.await(w.client(), "/clusters/root:org:one/api", w.token("alice", "ws"), http.StatusOK)
	stranger := newIssuer(t)
	signed := func(i *issuertest.Issuer, more issuertest.Claims) string {
		claims := issuertest.Claims{"sub": "alice", "aud": []string{"ws"}}
		for k, v := range more {
			claims[k] = v
		}
		return i.Sign(claims)
	}
	ca, err := harness.NewCA(t.TempDir(), "strangers")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := ca.Client(t.TempDir(), "eve")
	if err != nil {
		t.Fatal(err)
	}
	const one = "/clusters/root:org:one/api"
	mine := "(workspace root:org/auth jwt[0] " + w.issuer.URL() + "). Next: "
	for _, tt := range []struct{ name, path, token, want string }{
		{"admitted", one, signed(w.issuer, nil), "the server gets it as alice. Next: what that user may do there, RBAC in the workspace says"},
		{"no credential", one, "", "the request has no credential, and this target requires one. Next: log in first"},
		{"audience", one, signed(w.issuer, issuertest.Claims{"aud": []string{"x"}}), `audience: the token is for ["x"], the configuration wants one of ["ws"] ` + mine + "use a token for one of these audiences, or have the configuration accept the token's"},
		{"expired", one, signed(w.issuer, issuertest.Claims{"exp": 1700000000}), "the token expired at 2023-11-14T22:13:20Z " + mine + "log in again"},
		{"not yet valid", one, signed(w.issuer, issuertest.Claims{"nbf": 4700000000, "exp": 4700000100}), "the token is not valid before 2118-12-09T03:33:20Z " + mine + "wait, or set the clocks of the issuer and of this machine"},
		{"another server's signature", one, signed(stranger, issuertest.Claims{"iss": w.issuer.URL()}), `signature does not verify with key "ES256-1" ` + mine + "another server issued the token, or it was changed on the way"},
		{"another server's key", one, stranger.Sign(issuertest.Claims{"iss": w.issuer.URL(), "sub": "alice", "aud": []string{"ws"}}, issuertest.KeyID("other")), "unknown key: " + w.issuer.URL() + ` has no key with id "other" ` + mine + "compare the key id with the keys that the issuer publishes (jwks_uri): another server may have issued the token"},
		{"claims", one, signed(w.issuer, issuertest.Claims{"sub": "system:admin"}), `user name "system:admin" begins with "system:", which no workspace authenticator may assert ` + mine + "change the token's claims or the configuration; explain --dry-run tries a change"},
		{"an issuer nobody trusts", one, signed(stranger, nil), `neither the operator nor the workspace type root:org:team trusts issuer "` + stranger.URL() + `". Next: use a token of an issuer below, or have the owner of the type name this one`},
		{"an issuer of another type", "/clusters/root:org/api", signed(w.issuer, nil), `no authenticator here trusts issuer "` + w.issuer.URL() + `". Next: use a token of an issuer of the operator's`},
		{"an opaque token", one, "ya29.opaque", "this is no JWT, and no authenticator here knows it. Next: if an OIDC issuer gave it, use the ID token instead of the access token"},
		{"no such workspace", "/clusters/root:nope/api", "", "root has no workspace nope. Next: check the path; clients get the same answer for a workspace that they may not enter, and a new one is not known before it is scheduled"},
		{"no such workspace further down", "/clusters/root:org:nope:x/api", "", "root:org has no workspace nope. Next: check the path; clients get the same answer for a workspace that they may not enter, and a new one is not known before it is scheduled"},
		{"no such cluster", "/clusters/2kd9/api", "", "there is no logical cluster 2kd9. Next: check the path; clients get the same answer for a workspace that they may not enter, and a new one is not known before it is scheduled"},
		{"all clusters", "/clusters/*/api", "", `"*" names no workspace: wildcards and system clusters are served to nobody, and all else is not the path of one. Next: check the path`},
		{"no entry", "/services/x", "", "no entry of the mapping file has the path. Next: add an entry to the file of --mapping-file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := []string{"--path=" + tt.path}
			if tt.token != "" {
				written.secret(tt.token)
				args = append(args, "--token-file="+file(t, "token", []byte(tt.token)))
			}
			got, all := w.answer(args...)
			if got != tt.want {
				t.Errorf("the second line is\n%s\nwant\n%s\nin\n%s", got, tt.want, all)
			}
		})
	}
	if got, all := w.answer("--path="+one, "--certificate-file="+foreign.CertFile); !strings.Contains(got, "signed by unknown authority (client-certificate). Next: use a certificate of a CA in --client-ca-file") {
		t.Errorf("a certificate of another CA: %s\n%s", got, all)
	}
	id := w.refused(one, signed(w.issuer, issuertest.Claims{"aud": []string{"x"}}))
	if got, all := w.answer(id); !strings.HasPrefix(got, "audience: ") || !strings.Contains(all, "workspace          root:org:one (logical cluster cluster0one)\n") ||
		!strings.Contains(all, "workspace type     root:org:team (of logical cluster org0000000000001)\n") || !strings.Contains(all, "  configuration root:org/auth: Ready") {
		t.Errorf("a refusal: %s\n%s", got, all)
	}
}

// TestExplainUndecided: that nobody could decide is said once.
func TestExplainUndecided(t *testing.T) {
	t.Parallel()
	w, _ := answersWorld(t, "--feature-gates=WorkspaceAuthentication=true")
	w.kcp.Root.PutType("org0000000000001", "team", "gone")
	token := w.token("alice", "ws")
	w.await(w.client(), "/clusters/root:org:one/api", token, http.StatusServiceUnavailable)
	got, all := w.answer("--path=/clusters/root:org:one/api", "--token-file="+file(t, "token", []byte(token)))
	if !regexp.MustCompile(`^could not decide: .*gone does not exist.*\(workspace type root:org:team\)\. Next: the client may try again; `).MatchString(got) {
		t.Errorf("the second line is %s\n%s", got, all)
	}
	if twice := regexp.MustCompile(`could not decide: [^\n]*could not decide`); twice.MatchString(all) {
		t.Errorf("it says twice that nobody could decide:\n%s", all)
	}
}

// TestExplainGateOff: with WorkspaceAuthentication off, the types' issuers are not asked.
func TestExplainGateOff(t *testing.T) {
	t.Parallel()
	w, _ := answersWorld(t)
	token := w.token("alice", "ws")
	const want = "; if the type root:org:team names it, that has no effect: WorkspaceAuthentication is off. Next: start the proxy with --feature-gates=WorkspaceAuthentication=true, or use a token of an issuer of the operator's"
	id := w.refused("/clusters/root:org:one/api", token)
	for name, args := range map[string][]string{"in hand": {"--path=/clusters/root:org:one/api", "--token-file=" + file(t, "token", []byte(token))}, "refusal": {id}} {
		if got, all := w.answer(args...); got != `no authenticator here trusts issuer "`+w.issuer.URL()+`"`+want {
			t.Errorf("%s: the second line is %s\n%s", name, got, all)
		}
	}
}

// TestExplainForwarding: a request that is admitted, and does not get to its server or is refused
// there as if nobody had sent it.
func TestExplainForwarding(t *testing.T) {
	t.Parallel()
	w, far := answersWorld(t)
	const path = "/clusters/root:org:far/api"
	ask := []string{"--path=" + path, "--token-file=" + file(t, "token", []byte("operator-token"))}
	if got, all := w.answer(ask...); got != "the server gets it as operator. Next: what that user may do there, RBAC in the workspace says" {
		t.Errorf("while all is well: %s\n%s", got, all)
	}

	far.SetForwarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	w.await(w.client(), path, "operator-token", http.StatusUnauthorized)
	if got, all := w.answer(ask...); !regexp.MustCompile(`^admitted, but shard-1 does not believe the proxy's certificate: \d+s ago it refused a user whom the proxy had admitted\. Next: compare proxy_client_cert in the mapping file with `).MatchString(got) {
		t.Errorf("a shard that does not believe the proxy: %s\n%s", got, all)
	}
	if got, all := w.answer("--path=/clusters/root:org:one/api", "--token-file="+file(t, "token", []byte("operator-token"))); !strings.HasPrefix(got, "the server gets it as operator.") {
		t.Errorf("another shard: %s\n%s", got, all)
	}

	far.Stop()
	w.await(w.client(), path, "operator-token", http.StatusServiceUnavailable)
	down := regexp.MustCompile(`^admitted, but shard-1 has been unreachable for \d+s: connection refused\. Next: see whether the server runs at `)
	deadline := time.Now().Add(30 * time.Second)
	for {
		got, all := w.answer(ask...)
		if down.MatchString(got) && strings.HasPrefix(all, "GET "+path+": admitted, but unreachable (503)\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a shard that is down: %s\n%s", got, all)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestExplainWithoutRoot: whoever cannot be authorized is told where to ask instead.
func TestExplainWithoutRoot(t *testing.T) {
	t.Parallel()
	w, _ := answersWorld(t)
	operator := w.kubeconfig("operator-token", "")
	w.kcp.Root.Stop()
	for _, args := range [][]string{{"explain", "some-id"}, {"explain", "--path=/clusters/root/api"}, {"statusz"}} {
		_, stderr, code := command(append(args, "--kubeconfig="+operator)...)
		if code != 1 || !strings.Contains(stderr, "authorization is not possible right now") || !strings.Contains(stderr, "if root is down, ask at the proxy's --debug-address") {
			t.Errorf("%q: exit status %d: %s", args, code, stderr)
		}
	}
}

// TestDryRunOfManyDocuments: of what is applied together only the objects that decide about
// authentication are tried; the others are named.
func TestDryRunOfManyDocuments(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t)
	spec, err := json.Marshal(standin.Object{"jwt": []standin.Object{trusting(w.issuer)}})
	if err != nil {
		t.Fatal(err)
	}
	token := file(t, "token", []byte(w.token("alice", "ws")))
	written.secret(w.token("alice", "ws"))
	all := "# a comment\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n--- # another\napiVersion: tenancy.kcp.io/v1alpha1\nkind: WorkspaceAuthenticationConfiguration\nmetadata: {name: auth}\nspec: " + string(spec) +
		"\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: tenancy.kcp.io/v1alpha1, kind: WorkspaceType, metadata: {name: team}, spec: {authenticationConfigurations: [{name: auth}]}}\n- {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}}\n" +
		"---\napiVersion: example.io/v1\nkind: WorkspaceType\nmetadata: {name: other}\n---\nkind: Kustomization\n"
	out := w.explains("many documents", []string{"--path=/clusters/root:one/api", "--token-file=" + token, "--dry-run=" + file(t, "all.yaml", []byte(all)), "--debug-address=" + w.debug},
		"admitted (200)", "Note: not used of the file of --dry-run: Namespace ns, ClusterRole r, WorkspaceType other, Kustomization\n", "auth@(as given)")
	if strings.Contains(out, "does not name") {
		t.Errorf("an object is taken that is none of those:\n%s", out)
	}
	_, err = w.explain("--path=/clusters/root:one/api", "--dry-run="+file(t, "none.yaml", []byte("kind: Namespace\nmetadata: {name: ns}\n")), "--debug-address="+w.debug)
	if err == nil || !strings.Contains(err.Error(), "has no WorkspaceAuthenticationConfiguration and no WorkspaceType of tenancy.kcp.io, but Namespace ns") {
		t.Errorf("a file without such objects: %v", err)
	}
}
