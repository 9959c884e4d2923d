package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"frontproxy/proxy/zpages"
)

// command runs a command and returns what it printed, and its exit status.
func command(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	err := run(context.Background(), args, &out)
	code = exitCode(err, &errs)
	return out.String(), errs.String(), code
}

// TestHelp: each command says what it does, every flag of its own, and where it is used from; no
// line is wider than 120 columns.
func TestHelp(t *testing.T) {
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"--help", []string{"front-proxy --mapping-file=…", "explain     Explain why", "completion  Generate", "Proxy flags:", "--mapping-file string\n", "Other flags:", "--feature-gates Name=bool,…\n"}},
		{"help", []string{"explain     Explain why", "Proxy flags:"}},
		{"completion", []string{"front-proxy completion", "bash", "zsh", "fish"}},
		{"help check", []string{"front-proxy check [flags of the server]", "--mapping-file string", "Check flags:", "-o, --output string"}},
		{"check --help", []string{"front-proxy check [flags of the server]", "--mapping-file string", "Check flags:", "-o, --output string"}},
		{"explain -h", []string{"front-proxy explain {<id> | --path=… | --workspace} [flags]", "--token-file string", "--debug-address string"}},
		{"shadow --help", []string{"front-proxy shadow --incumbent", "--incumbent string"}},
		{"statusz --help", []string{"front-proxy statusz", "--debug-address string"}},
		{"version --help", []string{"front-proxy version"}},
		{"completion --help", []string{"front-proxy completion", "bash", "zsh", "fish"}},
		{"completion bash --help", []string{"source <(front-proxy completion bash)"}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			out, stderr, code := command(strings.Fields(tt.args)...)
			if code != 0 || stderr != "" {
				t.Errorf("exit status %d: %s", code, stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("it lacks %q:\n%s", want, out)
				}
			}
			for line := range strings.Lines(out) {
				if line = strings.TrimSuffix(line, "\n"); utf8.RuneCountInString(line) > maxHelpColumns || strings.TrimRight(line, " ") != line {
					t.Errorf("a line is too wide, or ends with spaces: %q", line)
				}
			}
		})
	}
}

// TestHelpOnTerminal: it is as wide as the terminal, and no wider than 120 columns.
func TestHelpOnTerminal(t *testing.T) {
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	for columns, want := range map[uint16]int{80: 80, 119: 119, 400: 120, 0: 120} {
		if err := unix.IoctlSetWinsize(int(keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
			t.Fatal(err)
		}
		if got := helpColumns(keyboard); got != want {
			t.Errorf("on %d columns it has %d, want %d", columns, got, want)
		}
	}
	for _, args := range []string{"--help", "check --help", "explain --help", "shadow --help", "statusz --help", "version --help"} {
		var out bytes.Buffer
		c := newCommand(&out)
		c.SetArgs(strings.Fields(args))
		if err := c.Execute(); err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(out.String(), " flags:\n") // those are wrapped
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(line) > 81 {
				t.Errorf("%s has a line that is too wide for 80 columns: %s", args, line)
			}
		}
	}
}

// TestDidYouMean: a misspelt flag or command is told with the one that it may be.
func TestDidYouMean(t *testing.T) {
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"--maping-file=x", "front-proxy: unknown flag: --maping-file (did you mean --mapping-file?); see --help\n", 1},
		{"--feature-gate=x", "front-proxy: unknown flag: --feature-gate (did you mean --feature-gates?); see --help\n", 1},
		{"--nothing-alike", "front-proxy: unknown flag: --nothing-alike; see --help\n", 1},
		{"explain --tokenfile=x", "front-proxy: explain: unknown flag: --tokenfile (did you mean --token-file?); see front-proxy explain --help\n", 2},
		{"explan x", "front-proxy: unknown command \"explan\" (did you mean explain?); see --help\n", 1},
		{"--v=4 statuz", "front-proxy: unknown command \"statuz\" (did you mean statusz?); see --help\n", 1},
		{"serve", "front-proxy: unknown command \"serve\"; see --help\n", 1},
		{"-- explain", "front-proxy: unexpected argument \"explain\"; flags begin with --; see --help\n", 1},
		{"check serve", "front-proxy: check: unexpected argument \"serve\"; flags begin with --; see front-proxy check --help\n", 2},
		{"check -oxml", "front-proxy: check: --output=xml: must be text, json or yaml; see front-proxy check --help\n", 2},
		{"statusz -oxml", "front-proxy: statusz: --output=xml: must be text, json or yaml; see front-proxy statusz --help\n", 2},
		{"version 1", "front-proxy: version: unexpected argument \"1\"; flags begin with --; see front-proxy version --help\n", 2},
		{"version -oxml", "front-proxy: version: --output=xml: must be text, json or yaml; see front-proxy version --help\n", 2},
		{"help nosuch", "front-proxy: help: unknown command \"nosuch\"; see front-proxy help --help\n", 2},
		{"help explan", "front-proxy: help: unknown command \"explan\" (did you mean explain?); see front-proxy help --help\n", 2},
		{"help check more", "front-proxy: help: unknown command \"more\"; see front-proxy help --help\n", 2},
		{"completion fsh", "front-proxy: completion: unknown command \"fsh\" (did you mean fish?); see front-proxy completion --help\n", 2},
		{"completion bash more", "front-proxy: bash: unexpected argument \"more\"; flags begin with --; see front-proxy completion bash --help\n", 2},
	} {
		t.Run(tt.args, func(t *testing.T) {
			stdout, stderr, code := command(strings.Fields(tt.args)...)
			if diff := cmp.Diff(tt.want, stderr); diff != "" || code != tt.code || stdout != "" {
				t.Errorf("exit status %d, want %d; standard output %q; standard error (-want +got):\n%s", code, tt.code, stdout, diff)
			}
		})
	}
}

// TestNoKubeconfig: without a kubeconfig, commands say where one is looked for, and what to give.
func TestNoKubeconfig(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "") // no pod
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	empty := file(t, "empty.kubeconfig", nil)
	for _, tt := range []struct{ args, want string }{
		{"explain x", "front-proxy: explain: there is no kubeconfig at $KUBECONFIG or ~/.kube/config: give --kubeconfig, or --debug-address on the proxy's machine\n"},
		{"statusz --kubeconfig=" + empty, "front-proxy: statusz: --kubeconfig " + empty + ": it is empty\n"},
	} {
		if _, stderr, code := command(strings.Fields(tt.args)...); stderr != tt.want || code != 1 {
			t.Errorf("%s: exit status %d, %q; want 1, %q", tt.args, code, stderr, tt.want)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		if out, stderr, code := command(arg); out != "front-proxy version "+version+" "+runtime.Version()+"\n" || code != 0 {
			t.Errorf("%s prints %q, and ends with %d: %s", arg, out, code, stderr)
		}
	}
	out, stderr, code := command("version", "-ojson")
	var got map[string]string
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Errorf("in JSON it prints %q (%v), and ends with %d: %s", out, err, code, stderr)
	}
	if diff := cmp.Diff(map[string]string{"gitVersion": version, "goVersion": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}, got); diff != "" {
		t.Errorf("in JSON (-want +got):\n%s", diff)
	}
}

// TestCompletion: there is a script for each shell, and what it asks for is answered.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, stderr, code := command("completion", shell); code != 0 || !strings.Contains(out, "front-proxy") {
			t.Errorf("%s: exit status %d: %s", shell, code, stderr)
		}
	}
	for _, tt := range []struct{ typed, want string }{
		{"ex", "explain\tExplain why"},
		{"--mapp", "--mapping-file\tRequired."},
		{"check --root-k", "--root-kubeconfig\t"},
		{"explain --tok", "--token-file\tFile with"},
		{"statusz -o ", "yaml"},
	} {
		out, _, code := command(append([]string{"__complete"}, strings.Split(tt.typed, " ")...)...)
		if code != 0 || !strings.Contains(out, tt.want) {
			t.Errorf("%q is completed with %q (exit status %d), want %q", tt.typed, out, code, tt.want)
		}
	}
}

// TestStatusz: it prints the page of the proxy at the debug address or of the kubeconfig, for
// whom that may read it.
func TestStatusz(t *testing.T) {
	w := newExplainWorld(t)
	operator := w.kubeconfig("operator-token", "/clusters/root:one")
	for name, at := range map[string]string{"debug address": "--debug-address=" + w.debug, "kubeconfig": "--kubeconfig=" + operator} {
		out, stderr, code := command("statusz", at)
		if code != 0 || !strings.HasPrefix(out, "\nfront-proxy statusz\n") || !strings.Contains(out, "  root  synced  ") {
			t.Errorf("%s: exit status %d: %s\n%s", name, code, stderr, out)
		}
		out, stderr, code = command("statusz", at, "-ojson")
		var page zpages.Statusz
		if err := json.Unmarshal([]byte(out), &page); err != nil || code != 0 || page.BinaryVersion != version || len(page.Status.Shards) != 1 {
			t.Errorf("%s: exit status %d: %s %v\n%s", name, code, stderr, err, out)
		}
		if out, stderr, code = command("statusz", at, "-oyaml"); code != 0 || !strings.Contains(out, "\nkind: Statusz\n") {
			t.Errorf("%s: exit status %d: %s\n%s", name, code, stderr, out)
		}
	}
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"without the right": {[]string{"--kubeconfig=" + w.kubeconfig("other-token", "")}, `User "mallory" cannot get path "/statusz"`},
		"a shard":           {[]string{"--kubeconfig=" + operator, "--server=" + w.kcp.Root.URL}, ""},
		"nobody":            {[]string{"--debug-address=unix:///nowhere"}, "no such file"},
	} {
		if out, stderr, code := command(append([]string{"statusz"}, tt.args...)...); code != 1 || !strings.HasPrefix(stderr, "front-proxy: statusz: ") || !strings.Contains(stderr, tt.want) || out != "" {
			t.Errorf("%s: exit status %d: %s\n%s", name, code, stderr, out)
		}
	}
}
