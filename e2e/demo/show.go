package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// act is one command and what must come of it.
type act struct {
	about string
	args  []string // of kubectl, without the kubeconfig
	admin bool     // runs with the administrator's kubeconfig
	fails bool
	want  string // in the output
}

func (s *scene) acts() []act {
	return []act{
		{about: "Alice is who her issuer says, and tied to this one workspace.", args: []string{"auth", "whoami"}, want: prefix + user},
		{about: "She works in blue, which lives on shard-1.", args: []string{"create", "configmap", "hello", "--from-literal=from=alice"}, want: "created"},
		{args: []string{"get", "configmaps"}, want: "hello"},
		{
			about: "The same user is refused in green, on the root shard: known there, but without a role.",
			args:  []string{"--context", "green", "get", "configmaps"}, fails: true, want: "Forbidden",
		},
		{
			about: "In root nobody knows her issuer.",
			args:  []string{"--context", "root", "get", "configmaps"}, fails: true, want: "You must be logged in",
		},
		{
			about: "The administrator comes with a client certificate and gets everywhere.", admin: true,
			args: []string{"--server", s.env.Proxy.URL + "/clusters/" + s.blue.Path, "get", "configmap", "hello"}, want: "hello",
		},
	}
}

// show runs every act, prints it, and fails when one goes otherwise.
func (s *scene) show(ctx context.Context, out io.Writer) error {
	for _, a := range s.acts() {
		if a.about != "" {
			say(out, "\n%s\n", a.about)
		}
		say(out, "  $ %s\n", s.commandLine(a))
		output, err := s.kubectl(ctx, a)
		if a.fails {
			output = lastLine(output) // kubectl repeats itself before it
		}
		say(out, "%s", indent(output))
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
	cmd := exec.CommandContext(ctx, s.env.Binaries().Kubectl, s.args(a)...) //nolint:gosec // our own kubectl
	cmd.Env = append(os.Environ(), "KUBECACHEDIR="+s.kubectlCacheDir)
	return cmd.CombinedOutput()
}

func (s *scene) args(a act) []string {
	kubeconfig := s.userKubeconfig
	if a.admin {
		kubeconfig = s.env.AdminKubeconfig()
	}
	return append([]string{"--kubeconfig", kubeconfig}, a.args...)
}

func (s *scene) commandLine(a act) string {
	return s.env.Binaries().Kubectl + " " + strings.Join(s.args(a), " ")
}

// explain says what to try. Its last line starts with "demo ready".
func (s *scene) explain(out io.Writer) {
	say(out, `
The commands above can be repeated in another terminal, and:
  export KUBECONFIG=%s
  K=%s
  $K auth whoami                          # alice in blue
  $K create configmap mine; $K get configmaps
  $K --context green get configmaps       # refused: no role there
  $K --kubeconfig %s get workspaces,workspacetypes,shards
Logs: %s

demo ready: front-proxy at %s (Ctrl-C ends it and everything it started)
`, s.userKubeconfig, s.env.Binaries().Kubectl, s.env.AdminKubeconfig(), s.env.Logs(), s.env.Proxy.URL)
}

func lastLine(output []byte) []byte {
	trimmed := bytes.TrimSpace(output)
	return append(trimmed[bytes.LastIndexByte(trimmed, '\n')+1:], '\n')
}

func indent(output []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(output)) {
		b.WriteString("    " + line)
	}
	return b.String()
}
