package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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
		{"authentication configuration", []string{"--authentication-config=" + authentication("- issuer: {url: 'http://x', audiences: [a]}\n  claimMappings: {username: {expression: 'claims.'}}\n")}, 1, []string{"jwt[0].issuer.url"}, nil},
		{"a field that does not exist", []string{"--authentication-config=" + authentication("- issuer: {uri: x}\n")}, 1, []string{`unknown field "jwt[0].issuer.uri"`}, nil},
		{"key and certificate", []string{"--tls-private-key-file=" + expired.KeyFile}, 1, []string{"do not match"}, nil},
		{"kubeconfig", []string{"--root-kubeconfig=" + file(t, "k", []byte("kind: Config\n")), "--shards-kubeconfig=" + file(t, "k2", []byte("{"))}, 1, []string{"--root-kubeconfig", "--shards-kubeconfig"}, nil},
		{"a kubeconfig's files", []string{"--root-kubeconfig=" + file(t, "k", []byte("kind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nclusters: [{name: a, cluster: {server: 'https://x', certificate-authority: /gone.crt}}]\nusers: [{name: a, user: {token: x}}]\n"))}, 1, []string{"/gone.crt"}, nil},
		{"one CA for users and proxies", []string{"--requestheader-client-ca-file=" + k.ClientCA.File, "--requestheader-username-headers=X-Remote-User"}, 1, []string{"both trust certificates of CA"}, []string{"--requestheader-allowed-names is empty"}},
		{"service account keys, each", []string{"--service-account-key-file=" + file(t, "a", []byte("x")), "--service-account-key-file=" + file(t, "b", []byte("y"))}, 1, []string{"/a\"", "/b\""}, nil},
		{"token file", []string{"--token-auth-file=" + file(t, "t", []byte("a,b\n"))}, 1, []string{"line 1 has 2 columns"}, nil},
		{"CORS", []string{"--cors-allowed-origins=("}, 1, []string{"--cors-allowed-origins"}, nil},
		{"audit policy", []string{"--audit-log-path=" + auditLog, "--audit-policy-file=" + file(t, "p", []byte("kind: Nothing\n"))}, 1, []string{"--audit-policy-file"}, nil},
		{"debug address", []string{"--debug-address=0.0.0.0:1"}, 1, []string{"--debug-address=0.0.0.0:1: must be a loopback"}, nil},
		{"blanks in lists", []string{"--authentication-pass-on-groups=devs, ops"}, 0, nil, []string{`A value of a flag has no effect or is refused: --authentication-pass-on-groups, value 2 " ops" has leading or trailing white space`}},
		{"an origin that is empty", []string{"--cors-allowed-origins=//a$,"}, 1, []string{"--cors-allowed-origins: a value is empty"}, nil},
		{"an empty kubeconfig", []string{"--root-kubeconfig=" + file(t, "k", nil)}, 1, []string{"with a current-context): it is empty"}, nil},
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
