package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"frontproxy/authn"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
	"frontproxy/proxy/zpages"
)

// trustingYAML is a WorkspaceAuthenticationConfiguration that trusts i.
func trustingYAML(name string, i *issuertest.Issuer) string {
	ca := "\n        " + strings.ReplaceAll(strings.TrimSpace(i.CAPEM()), "\n", "\n        ")
	return "apiVersion: tenancy.kcp.io/v1alpha1\nkind: WorkspaceAuthenticationConfiguration\nmetadata: {name: " + name + "}\nspec:\n  jwt:\n  - issuer:\n      url: " + i.URL() +
		"\n      audiences: [ws]\n      certificateAuthority: |" + ca + "\n    claimMappings: {username: {claim: sub, prefix: 'x:'}}\n"
}

// brokenJSON is a configuration that trusts the issuer as trusting does, and is broken.
func brokenJSON(t *testing.T, name string, i *issuertest.Issuer) []byte {
	t.Helper()
	entry := trusting(i)
	entry["issuer"].(standin.Object)["audiences"] = []string{}
	text, err := json.Marshal(standin.Object{
		"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceAuthenticationConfiguration", "metadata": standin.Object{"name": name},
		"spec": standin.Object{"jwt": []standin.Object{entry}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// newOwnersWorld has an owner of configurations, and one who may read the configuration auth.
func newOwnersWorld(t *testing.T) *explainWorld {
	t.Helper()
	return newExplainWorld(t, "--token-auth-file="+file(t, "owners.csv", []byte("owner-token,owner,3,"+standin.WorkspaceAdmin+"\nreader-token,reader,4,"+standin.ConfigurationReader+"\n")))
}

func TestOwnersSeeTheStateOfConfigurations(t *testing.T) {
	w := newOwnersWorld(t)
	owner, reader := w.kubeconfig("owner-token", "/clusters/root"), w.kubeconfig("reader-token", "/clusters/root")
	w.refused("/clusters/root:one/api/v1/pods", w.token("bob", "elsewhere"))
	all := []string{"auth: Ready", "used by types team", w.issuer.URL() + `: Ready, audiences ["ws"]`, `key "` + w.issuer.KeyID() + `" since`, "refused in the last hour: 1 for audience", "Reported by instance"}
	out := w.explains("all", []string{"--workspace", "--kubeconfig=" + owner}, all...)
	for _, private := range []string{"users", "token-file", "cluster0one"} {
		if strings.Contains(out, private) {
			t.Errorf("%q is told:\n%s", private, out)
		}
	}
	w.explains("one", []string{"--workspace", "--configuration=auth", "--kubeconfig=" + owner}, all...)
	w.explains("one, to somebody who may read only that", []string{"--workspace", "--configuration=auth", "--kubeconfig=" + reader}, all...)
	w.explains("none", []string{"--workspace", "--kubeconfig=" + w.kubeconfig("owner-token", "/clusters/root:two")}, "Workspace cluster0two has no WorkspaceAuthenticationConfigurations")
	w.explains("another workspace than the kubeconfig's", []string{"--workspace", "--server=" + w.url + "/clusters/root", "--kubeconfig=" + w.kubeconfig("owner-token", "/clusters/root:two")}, all...)
	for name, tc := range map[string]struct{ kubeconfig, configuration, want string }{
		"all, to somebody who may read one": {reader, "", "cannot get resource"},
		"another":                           {reader, "other", "cannot get resource"},
		"one that does not exist":           {owner, "other", `no WorkspaceAuthenticationConfiguration "other"`},
		"a user of the type":                {w.kubeconfig(w.token("dave", "ws", "devs"), "/clusters/root:one"), "", "cannot get resource"},
		"nobody":                            {w.kubeconfig(w.token("bob", "elsewhere"), "/clusters/root:one"), "", "Unauthorized"},
	} {
		args := []string{"--workspace", "--kubeconfig=" + tc.kubeconfig}
		if tc.configuration != "" {
			args = append(args, "--configuration="+tc.configuration)
		}
		if out, err := w.explain(args...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q\n%s", name, err, tc.want, out)
		}
	}
	w.issuer.SetDown(true)
	if _, err := w.explain("--workspace", "--kubeconfig="+owner, "-o", "json"); err != nil { // keys stay
		t.Error(err)
	}
}

func TestOwnersTryConfigurationsInAFile(t *testing.T) {
	w := newOwnersWorld(t)
	other := newIssuer(t)
	owner := w.kubeconfig("owner-token", "/clusters/root")
	raw := other.Sign(issuertest.Claims{"sub": "zoe", "aud": []string{"ws"}})
	written.secret(raw)
	token := "--token-file=" + file(t, "token.jwt", []byte(raw))
	known := w.token("alice", "ws")
	written.secret(known)
	with := "--dry-run=" + file(t, "with.yaml", []byte(trustingYAML("auth", other)))
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"the file": {[]string{with}, []string{"auth: Ready", other.URL() + ": Ready", `key "`}},
		"a token":  {[]string{with, token}, []string{"The token: admitted", "as x:zoe", "accepted: valid until"}},
		"a bad file for what is in use": {[]string{"--dry-run=" + file(t, "worse.yaml", brokenJSON(t, "auth", w.issuer)), "--token-file=" + file(t, "known.jwt", []byte(known))},
			[]string{"auth: Broken", "The token: admitted", "  The version of auth in use now decided this, because the one in the file is broken\n"}},
		"a bad file": {[]string{"--dry-run=" + file(t, "bad.yaml", []byte(strings.ReplaceAll(trustingYAML("auth", other), "audiences: [ws]", "audiences: []"))), token}, []string{"auth: Broken", "audiences", "The token: undecided"}},
	} {
		out := w.explains(name, append(tc.args, "--workspace", "--kubeconfig="+owner), tc.want...)
		if found := written.secrets.In([]byte(out)); found != nil {
			t.Errorf("%s: a credential is told: %v", name, found)
		}
	}
	w.await(w.client(), "/clusters/root:one/api", raw, http.StatusUnauthorized) // nothing was applied
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"without the right":        {[]string{with, "--workspace", "--kubeconfig=" + w.kubeconfig("reader-token", "/clusters/root")}, "cannot update resource"},
		"a token without a file":   {[]string{token, "--workspace", "--kubeconfig=" + owner}, "--token-file needs --dry-run"},
		"configuration and a file": {[]string{with, "--configuration=auth", "--workspace", "--kubeconfig=" + owner}, "--configuration needs --workspace, and neither"},
		"no configuration": {[]string{"--dry-run=" + file(t, "type.yaml", []byte("kind: WorkspaceType\nmetadata: {name: team}\nspec: {}\n")), "--workspace", "--kubeconfig=" + owner},
			"no WorkspaceAuthenticationConfiguration"},
	} {
		if out, err := w.explain(tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q\n%s", name, err, tc.want, out)
		}
	}
	for body, want := range map[string]int{"": http.StatusBadRequest, "{}": http.StatusBadRequest, strings.Repeat("x", 65<<10): http.StatusBadRequest} {
		r, err := http.NewRequest(http.MethodPost, w.url+"/clusters/root"+zpages.AuthenticationPath, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer owner-token")
		resp, err := w.client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("a body of %d bytes: %d, want %d", len(body), resp.StatusCode, want)
		}
	}
}

// TestDecided: a configuration decided about a token only if one of its own entries accepted or refused it.
func TestDecided(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[authn.Outcome]bool{authn.Accepted: true, authn.Refused: true, authn.Undecided: false, authn.Skipped: false} {
		tried := &zpages.TriedToken{Verdicts: []authn.Verdict{{Authenticator: "workspace root/auth jwt[0] https://issuer.example", Outcome: outcome}}}
		if got := decided(tried, "auth"); got != want {
			t.Errorf("%s: %t, want %t", outcome, got, want)
		}
		if decided(tried, "other") {
			t.Errorf("%s: another configuration decided", outcome)
		}
	}
}
