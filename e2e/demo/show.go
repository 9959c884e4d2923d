package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// act is one command and what must come of it.
type act struct {
	about string
	args  []string // of kubectl, without the kubeconfig
	admin bool     // runs with the administrator's kubeconfig
	ours  bool     // args are front-proxy's
	login bool     // runs with what Alice has when she has nothing: no kubeconfig, but a browser
	typed string   // by Alice
	fails bool
	want  string // in the output
	only  string // what to print of it: lines that begin with one of these words; empty: all
}

func (s *scene) acts() []act {
	return []act{
		{about: "Alice has the identity that her issuer asserts, tied to this one workspace.", args: []string{"auth", "whoami"}, want: prefix + user},
		{about: "She works in blue, which is on shard-1.", args: []string{"create", "configmap", "hello", "--from-literal=from=alice"}, want: "created"},
		{args: []string{"get", "configmaps"}, want: "hello"},
		{
			about: "On another machine she has only blue's URL and an account at her company. She says yes once; the demo fills in her company's login form.",
			args:  []string{"kcp-login", s.env.Proxy.URL + "/clusters/" + s.blue.Path, "--certificate-authority=" + s.env.ServingCA.File}, login: true, typed: "yes\n", want: "You are " + prefix + user,
		},
		{args: []string{"get", "configmaps"}, login: true, want: "hello"},
		{about: "She has the same identity in green, which is on the root shard.", args: []string{"--context", "green", "auth", "whoami"}, want: prefix + user},
		{
			about: "There she may only ask who she is.",
			args:  []string{"--context", "green", "get", "configmaps"}, fails: true, want: "Forbidden",
		},
		{
			about: "In root her issuer is not trusted.",
			args:  []string{"--context", "root", "get", "configmaps"}, fails: true, want: "You must be logged in",
		},
		{
			about: "The administrator has a client certificate and full access everywhere.", admin: true,
			args: []string{"--server", s.env.Proxy.URL + "/clusters/" + s.blue.Path, "get", "configmap", "hello"}, want: "hello",
		},
	}
}

// inside is what operators see: why somebody was refused, by the id that the
// client was told, and how the proxy is.
func (s *scene) inside(refusal string) []act {
	return []act{
		{about: "In blue she was refused with a token for another audience. The client got only an ID; the operator learns why.", ours: true, admin: true,
			args: []string{"explain", refusal}, want: `audience: the token is for ["something-else"]`},
		{about: "What would the proxy decide about her token in green?", ours: true, admin: true,
			args: []string{"explain", "--path=/clusters/" + s.green.Path + "/api", "--token-file=" + s.tokenFile}, want: "Forwarded as: " + prefix + user},
		{about: "The proxy's status: shards, issuers, configurations, certificates.", admin: true,
			args: []string{"--server", s.env.Proxy.URL, "get", "--raw", "/statusz"}, want: "shard-1"},
		{about: "Its metrics.", admin: true, only: "front_proxy_decisions_total{ front_proxy_issuers{",
			args: []string{"--server", s.env.Proxy.URL, "get", "--raw", "/metrics"}, want: "front_proxy_decisions_total"},
	}
}

// show runs every act, prints it, and fails when one goes otherwise.
func (s *scene) show(ctx context.Context, out io.Writer) error {
	if err := s.play(ctx, out, s.acts()); err != nil {
		return err
	}
	refusal, err := s.env.Token(s.foreignToken).RefusalID(ctx, s.blue.Path)
	if err != nil {
		return err
	}
	return s.play(ctx, out, s.inside(refusal))
}

func (s *scene) play(ctx context.Context, out io.Writer, acts []act) error {
	for _, a := range acts {
		if a.about != "" {
			say(out, "\n%s\n", a.about)
		}
		say(out, "  $ %s\n", s.commandLine(a))
		output, err := s.kubectl(ctx, a)
		if a.fails {
			output = lastLine(output) // kubectl repeats itself before it
		}
		say(out, "%s", indent(lines(output, a.only)))
		var exit *exec.ExitError
		switch {
		case err != nil && !errors.As(err, &exit):
			return fmt.Errorf("run %s: %w", s.commandLine(a), err)
		case (err != nil) != a.fails, !bytes.Contains(output, []byte(a.want)):
			return fmt.Errorf("%s: wanted %q in the output and failure to be %t; it failed: %t; the proxy's log is %s",
				s.commandLine(a), a.want, a.fails, err != nil, s.env.Proxy.Log())
		}
	}
	return nil
}

func (s *scene) kubectl(ctx context.Context, a act) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.binary(a), s.args(a)...) //nolint:gosec // our own binaries
	cmd.Env = append(os.Environ(), "KUBECACHEDIR="+s.kubectlCacheDir)
	if a.login {
		cmd.Env = append(cmd.Env, s.company.variables(s.env)...)
		cmd.Stdin = strings.NewReader(a.typed)
	}
	return cmd.CombinedOutput()
}

func (s *scene) args(a act) []string {
	kubeconfig := s.userKubeconfig
	switch {
	case a.login:
		return a.args
	case a.admin:
		kubeconfig = s.env.AdminKubeconfig()
	}
	if a.ours {
		return append(slices.Clone(a.args), "--kubeconfig="+kubeconfig)
	}
	return append([]string{"--kubeconfig", kubeconfig}, a.args...)
}

func (s *scene) binary(a act) string {
	if a.ours {
		return s.env.Binaries().FrontProxy
	}
	return s.env.Binaries().Kubectl
}

func (s *scene) commandLine(a act) string {
	return s.binary(a) + " " + strings.Join(s.args(a), " ")
}

// explain says what to try. Its last line starts with "demo ready".
func (s *scene) explain(out io.Writer) {
	say(out, `
The commands above can be repeated in another terminal. Or go on with
docs/quick-start.md there, in a shell that has read this file:
  source %s
  kubectl kcp-login $PROXY/clusters/root:demo:blue --certificate-authority=$SERVING_CA
  kubectl get configmaps                       # two commands, from a URL to work
  kubectl auth whoami                          # alice in blue
  kubectl --context green get configmaps       # refused: no role there
  kubectl --kubeconfig $ADMIN get workspaces,workspacetypes,shards
  front-proxy explain --help                   # why, for operators
Logs: %s

demo ready: front-proxy at %s (Ctrl-C ends it and everything it started)
`, s.shellFile, s.env.Logs(), s.env.Proxy.URL)
}

func lastLine(output []byte) []byte {
	trimmed := bytes.TrimSpace(output)
	return append(trimmed[bytes.LastIndexByte(trimmed, '\n')+1:], '\n')
}

// lines are those that begin with one of the words; all when there are none.
func lines(output []byte, words string) []byte {
	if words == "" {
		return output
	}
	var kept []byte
	for line := range bytes.Lines(output) {
		if slices.ContainsFunc(strings.Fields(words), func(w string) bool { return bytes.HasPrefix(line, []byte(w)) }) {
			kept = append(kept, line...)
		}
	}
	return kept
}

func indent(output []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(output)) {
		b.WriteString("    " + line)
	}
	return b.String()
}
