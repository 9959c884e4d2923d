package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

// check runs the subcommand and returns what it found and its exit status.
func check(t *testing.T, args ...string) (Findings, int) {
	t.Helper()
	var out bytes.Buffer
	err := run(context.Background(), append([]string{"check", "-ojson"}, args...), &out)
	code := exitCode(err, new(bytes.Buffer))
	var found Findings
	if code != 2 {
		if err := json.Unmarshal(out.Bytes(), &found); err != nil {
			t.Fatalf("%v in %s (%v)", err, out.String(), err)
		}
	}
	return found, code
}

// TestCheck: everything that is wrong is told at once, by flag, entry and line,
// and nothing is listened on or connected to.
func TestCheck(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	good, _ := arguments(t, k)
	k.Close() // nobody answers: check asks nobody
	expired, err := k.ClientCA.Client(t.TempDir(), "someone")
	if err != nil {
		t.Fatal(err)
	}
	authentication := func(jwt string) string {
		return file(t, "auth.yaml", []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n"+jwt))
	}
	auditLog := filepath.Join(t.TempDir(), "audit.log")
	mapping := func(text string) string { return file(t, "mapping.yaml", []byte(text)) }
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		errors []string // a part of each, in any order
		warns  []string // parts that some warning has
	}{
		{"as it is", nil, 0, nil, []string{"expires at"}},
		{"the command line", []string{"--no-such-flag"}, 2, nil, nil},
		{"an argument", []string{"serve"}, 2, nil, nil},
		{"flags without their files", []string{"--mapping-file=", "--oidc-issuer-url=https://x", "--token-auth-file=/gone"}, 1, []string{"--mapping-file is required", "--oidc-issuer-url and --oidc-client-id must be set together", "--token-auth-file: open /gone"}, nil},
		{"mount hosts file", []string{"--external-url=http://x", "--external-url=https://user:pass@y", "--mount-hosts-file=" + file(t, "hosts.yaml", []byte(
			"- url: https://a/b/\n  backend_server_ca: "+k.ServingCA.File+"\n  path: /\n- url: https://A:443/b\n  backend_server_ca: "+k.ServingCA.File+"\n  proxy_client_cert: /gone\n"+
				"- url: https://a/b\n  backend_server_ca: "+k.ServingCA.File+"\n- url: https://c/../d\n  backend_server_ca: "+k.ServingCA.File+"\n"))}, 1, []string{
			`--external-url="http://x" must be https`, `--external-url for host "y" cannot have a user`,
			`entry 1 (url "https://a/b/", line 1): line 3: the key "path" is unknown`, `entry 2 (url "https://A:443/b", line 4): proxy_client_cert: open /gone`,
			`entry 2 (url "https://A:443/b", line 4): proxy_client_key is missing`, `entry 4 (url "https://c/../d", line 9): url: the request path is ambiguous: dot segment`}, nil},
		{"mount hosts that are the same", []string{"--mount-hosts-file=" + file(t, "same.yaml", []byte(
			"- url: https://a/b/\n  backend_server_ca: "+k.ServingCA.File+"\n- url: https://A:443/b\n  backend_server_ca: "+expired.CertFile+"\n"))}, 1, []string{
			`entry 2 (url "https://A:443/b", line 3): url is the same as that of entry 1 (url "https://a/b/", line 1)`}, nil},
		{"mapping file", []string{"--mapping-file=" + mapping("- path: /a/\n  backend: http://x\n- path: b\n  bakend: https://x\n")}, 1, []string{
			`entry 1 (path "/a/", line 1): backend: "http://x" is not encrypted`, `entry 1 (path "/a/", line 1): backend_server_ca is missing`,
			`entry 1 (path "/a/", line 1): proxy_client_cert is missing`, `entry 1 (path "/a/", line 1): proxy_client_key is missing`,
			`entry 2 (path "b", line 3): path: must begin with a slash`, `entry 2 (path "b", line 3): backend is missing`,
			`entry 2 (path "b", line 3): backend_server_ca is missing`, `entry 2 (path "b", line 3): proxy_client_cert is missing`, `entry 2 (path "b", line 3): proxy_client_key is missing`}, []string{`entry 2 (path "b", line 3): line 4: the key "bakend" is unknown`}},
		{"token file that refuses", []string{"--token-auth-file=" + file(t, "t", []byte("secret,alice,1,\"devs, ops\"\n,bob,2\n"))}, 0, nil, []string{"the token of line 1 is refused (401): group 2", "line 2 has no token"}},
		{"mapping file without the usual entries", []string{"--mapping-file=" + mapping(k.MappingEntry("/x/"))}, 0, nil, []string{
			"no entry has the path /clusters/: every request for a workspace gets 404, and the proxy is ready all the same", "no entry has the path /services/: requests for virtual workspaces"}},
		{"mapping file that sends all to one backend", []string{"--mapping-file=" + mapping(k.MappingEntry("/"))}, 0, nil, []string{
			`no entry has the path /clusters/: requests for workspaces go to the backend of entry 1 (path "/", line 1), whatever their shard`}},
		{"authentication configuration", []string{"--authentication-config=" + authentication("- issuer: {url: 'http://x', audiences: [a]}\n  claimMappings:\n    username: {expression: 'claims.'}\n")}, 1, []string{
			`/auth.yaml": jwt[0].issuer.url (line 4): Invalid value: "http://x"`, `/auth.yaml": jwt[0].claimMappings.username.expression (line 6): Invalid value: "claims."`}, nil},
		{"a field that does not exist", []string{"--authentication-config=" + authentication("- issuer:\n    uri: x\n  claims: y\n")}, 1, []string{`unknown field "jwt[0].issuer.uri" (line 5)`, `unknown field "jwt[0].claims" (line 6)`}, nil},
		{"key and certificate", []string{"--tls-private-key-file=" + expired.KeyFile}, 1, []string{"do not match"}, nil},
		{"kubeconfig", []string{"--root-kubeconfig=" + file(t, "k", []byte("kind: Config\n")), "--shards-kubeconfig=" + file(t, "k2", []byte("{"))}, 1, []string{"--root-kubeconfig", "--shards-kubeconfig"}, nil},
		{"a kubeconfig's files", []string{"--root-kubeconfig=" + file(t, "k", []byte("kind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: 'https://x', certificate-authority: /gone.crt}}]\nusers: [{name: a, user: {token: x}}]\n"))}, 1, []string{"/gone.crt"}, nil},
		{"one CA for users and proxies", []string{"--requestheader-client-ca-file=" + k.ClientCA.File, "--requestheader-username-headers=X-Remote-User"}, 1, []string{"both trust certificates of CA"}, []string{"--requestheader-allowed-names is empty"}},
		{"service account keys, each", []string{"--service-account-key-file=" + file(t, "a", []byte("x")), "--service-account-key-file=" + file(t, "b", []byte("y"))}, 1, []string{"/a\"", "/b\""}, nil},
		{"token file", []string{"--token-auth-file=" + file(t, "t", []byte("a,b\n"))}, 1, []string{"line 1 has 2 columns"}, nil},
		{"CORS", []string{"--cors-allowed-origins=("}, 1, []string{"--cors-allowed-origins"}, nil},
		{"audit policy", []string{"--audit-log-path=" + auditLog, "--audit-policy-file=" + file(t, "p", []byte("kind: Nothing\n"))}, 1, []string{"--audit-policy-file"}, nil},
		{"audit policy's rules", []string{"--audit-log-path=" + auditLog, "--audit-policy-file=" + file(t, "p", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Nothing\n- level: None\n  lvl: x\n- verbs: [get]\n"))}, 1, []string{
			"/p: rules[0].level (line 4): Unsupported value", "/p: rules[2].level (line 7): Required value"}, []string{`/p: unknown field "rules[1].lvl" (line 6), which is ignored`}},
		{"tracing", []string{"--tracing-config-file=" + file(t, "tr", []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsamplingRatePerMillion: -3\n"))}, 1, []string{`/tr": samplingRatePerMillion (line 3): Invalid value`}, nil},
		{"a kubeconfig whose context leads nowhere", []string{"--root-kubeconfig=" + file(t, "k", []byte("kind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\nusers: [{name: c, user: {token: x}}]\n"))}, 1, []string{
			`cluster "b" was not found for context "a"`, `no server found for cluster "b"`}, nil},
		{"debug address", []string{"--debug-address=0.0.0.0:1"}, 1, []string{"--debug-address=0.0.0.0:1: must be a loopback"}, nil},
		{"blanks in lists", []string{"--authentication-pass-on-groups=devs, ops"}, 0, nil, []string{`A value of a flag has no effect or is refused: --authentication-pass-on-groups, value 2 " ops" has leading or trailing white space`}},
		{"an origin that is empty", []string{"--cors-allowed-origins=//a$,"}, 1, []string{"--cors-allowed-origins: a value is empty"}, nil},
		{"an empty kubeconfig", []string{"--root-kubeconfig=" + file(t, "k", nil)}, 1, []string{"with a current-context): it is empty"}, nil},
		{"an empty kubeconfig for every shard", []string{"--shards-kubeconfig=" + file(t, "k", nil)}, 1, []string{`/k" is empty`}, nil},
		{"no effect", []string{"--anonymous-auth"}, 0, nil, []string{"Flags without effect: flags --anonymous-auth"}},
		{"logins that nobody tells", []string{"--login-client=issuer-url=https://a,client-id=b"}, 0, nil, []string{"--login-client has no effect without"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, code := check(t, append(slices.Clone(good), tt.args...)...)
			if code != tt.code || len(found.Errors) != len(tt.errors) {
				t.Errorf("exit %d with %d errors, want %d with %d:\n%s", code, len(found.Errors), tt.code, len(tt.errors), strings.Join(found.Errors, "\n"))
			}
			for _, want := range tt.errors {
				if !slices.ContainsFunc(found.Errors, func(e string) bool { return strings.Contains(e, want) }) {
					t.Errorf("no error has %q:\n%s", want, strings.Join(found.Errors, "\n"))
				}
			}
			for _, want := range tt.warns {
				if !slices.ContainsFunc(found.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
					t.Errorf("no warning has %q:\n%s", want, strings.Join(found.Warnings, "\n"))
				}
			}
		})
	}
	if _, err := os.Stat(auditLog); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file was written")
	}
	for _, a := range good {
		if port, ok := strings.CutPrefix(a, "--secure-port="); ok {
			if c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second); err == nil {
				_ = c.Close()
				t.Error("check listens")
			}
		}
	}
}

// TestCheckPrintsOneProblemALine: with absolute paths of files, and nothing else but the count.
func TestCheckPrintsOneProblemALine(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("mapping.yaml", []byte("- path: /clusters/\n  backend_server_ca: ca.crt\n  proxy_client_cert: tls.crt\n- backend: https://x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, stderr, code := command("check", "--mapping-file=mapping.yaml", "--root-kubeconfig=none.kubeconfig", "--tls-cert-file=tls.crt", "--tls-private-key-file=tls.key")
	if code != 1 || stderr != "" {
		t.Errorf("exit status %d: %s", code, stderr)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`error: --shards-kubeconfig is required: the kubeconfig for watching workspaces on every shard
error: --root-kubeconfig: open DIR/none.kubeconfig: no such file or directory
error: --tls-cert-file: open DIR/tls.crt: no such file or directory
error: --tls-private-key-file: open DIR/tls.key: no such file or directory
error: mapping file DIR/mapping.yaml: entry 1 (path "/clusters/", line 1): backend_server_ca: open DIR/ca.crt: no such file or directory; it must name a PEM bundle of the CAs that sign the backend's certificate
error: mapping file DIR/mapping.yaml: entry 1 (path "/clusters/", line 1): proxy_client_cert: open DIR/tls.crt: no such file or directory; it must name the PEM certificate that the proxy shows to the backend
error: mapping file DIR/mapping.yaml: entry 1 (path "/clusters/", line 1): proxy_client_key is missing: the PEM private key of proxy_client_cert
error: mapping file DIR/mapping.yaml: entry 2 (path "", line 4): path: must begin with a slash, as in /services/
error: mapping file DIR/mapping.yaml: entry 2 (path "", line 4): backend_server_ca is missing: a PEM bundle of the CAs that sign the backend's certificate
error: mapping file DIR/mapping.yaml: entry 2 (path "", line 4): proxy_client_cert is missing: the PEM certificate that the proxy shows to the backend
error: mapping file DIR/mapping.yaml: entry 2 (path "", line 4): proxy_client_key is missing: the PEM private key of proxy_client_cert
11 errors, 0 warnings
`, "DIR", dir)
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("it prints (-want +got):\n%s", diff)
	}
}

func TestProblems(t *testing.T) {
	leaf := func(text string) error { return errors.New(text) }
	for name, tt := range map[string]struct {
		err  error
		want []string
	}{
		"one":               {leaf("a"), []string{"a"}},
		"joined":            {errors.Join(leaf("a"), leaf("b")), []string{"a", "b"}},
		"wrapped":           {fmt.Errorf("file x: %w", errors.Join(leaf("a"), fmt.Errorf("y: %w", errors.Join(leaf("b"), leaf("c"))))), []string{"file x: a", "file x: y: b", "file x: y: c"}},
		"an aggregate":      {fmt.Errorf("x: %w", utilerrors.NewAggregate([]error{leaf("a"), leaf("b")})), []string{"x: a", "x: b"}},
		"several lines":     {leaf("a\n\nb\n"), []string{"a; b"}},
		"wrapped elsewhere": {fmt.Errorf("x (%w)", leaf("a")), []string{"x (a)"}},
	} {
		if diff := cmp.Diff(tt.want, problems(tt.err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestCheckEnds: certificates that have ended, or will soon.
func TestCheckEnds(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	c := &checker{now: time.Now(), found: Findings{}}
	c.leaf("now", k.Forwarding.Cert)
	c.now = time.Now().Add(200 * 365 * 24 * time.Hour)
	c.leaf("later", k.Forwarding.Cert)
	c.bundle("later", k.ClientCA.PEM)
	c.now = time.Now().Add(-200 * 365 * 24 * time.Hour)
	c.leaf("earlier", k.Forwarding.Cert)
	for _, want := range []string{"later: the certificate of \"front-proxy\" expired", "later: every CA in it has expired", "earlier: the certificate of \"front-proxy\" is not valid before"} {
		if !slices.ContainsFunc(c.found.Errors, func(e string) bool { return strings.Contains(e, want) }) {
			t.Errorf("no error has %q: %q", want, c.found.Errors)
		}
	}
	if len(c.found.Errors) != 3 {
		t.Errorf("errors: %q", c.found.Errors)
	}
}
