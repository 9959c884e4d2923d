package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// act is one command and what must come of it.
type act struct {
	about     string
	line      string // as a person types it in a shell that has read demo.env
	elsewhere bool   // on a machine where Alice has nothing but a browser
	typed     string // by Alice
	fails     bool
	want      string // in the output
	only      string // what to print of it: lines that begin with one of these words; empty: all
}

func (s *scene) acts() []act {
	return []act{
		{about: "Alice has the identity that her issuer asserts, tied to this one workspace.", line: "kubectl auth whoami", want: prefix + user},
		{about: "She works in blue, which is on shard-1.", line: "kubectl apply -f $DEMO_DIR/hello.yaml", want: "configmap/hello"},
		{line: "kubectl get configmaps", want: "hello"},
		{
			about: "On another machine she has only blue's URL and an account at her company. She says yes once; the demo fills in her company's login form.",
			line:  "kubectl kcp-login $PROXY/clusters/root:demo:blue --certificate-authority=$SERVING_CA", elsewhere: true, typed: "yes\n", want: "You are " + prefix + user,
		},
		{line: "kubectl get configmaps", elsewhere: true, want: "hello"},
		{about: "She has the same identity in green, which is on the root shard.", line: "kubectl --context green auth whoami", want: prefix + user},
		{about: "There she may only ask who she is.", line: "kubectl --context green get configmaps", fails: true, want: "Forbidden"},
		{about: "In root her issuer is not trusted.", line: "kubectl --context root get configmaps", fails: true, want: "You must be logged in"},
		{
			about: "The administrator has a client certificate and full access everywhere.",
			line:  "kubectl --kubeconfig $ADMIN --server $PROXY/clusters/root:demo:blue get configmap hello", want: "hello",
		},
		{
			about: "A token for another audience is refused in blue. Alice gets an ID.",
			line:  `kubectl --token "$(cat $DEMO_DIR/other-audience.jwt)" get configmaps`, fails: true, want: refusalPrefix,
		},
	}
}

// refusalPrefix is what an ID follows in a refusal.
const refusalPrefix = "find out why by this id: "

var refusalID = regexp.MustCompile(refusalPrefix + `([^\s)]+)`)

// inside is what operators see: why somebody was refused, by the id that the
// client was told, and how the proxy is.
func (s *scene) inside(refusal string) []act {
	return []act{
		{about: "With that ID the operator learns why.", line: "front-proxy explain --kubeconfig $ADMIN " + refusal, want: `audience: the token is for ["something-else"]`},
		{
			about: "What would the proxy decide about Alice's own token in green?",
			line:  "front-proxy explain --kubeconfig $ADMIN --path /clusters/root:demo:green --token-file $TOKEN_FILE", want: "Forwarded as: " + prefix + user,
		},
		{
			about: "The owner of root:demo sees the state of its authentication configurations.",
			line:  "front-proxy explain --workspace --kubeconfig $ADMIN --server $PROXY/clusters/root:demo", want: "refused in the last hour: 1 for audience",
		},
		{
			about: "A controller in blue that is shown a token asks whose it is. Blue's own shard does not know: her issuer's configuration is on another.",
			line:  "kubectl --kubeconfig $ADMIN --server $PROXY/clusters/root:demo:blue create -o yaml -f $REVIEW", only: "authenticated: username:", want: "username: " + prefix + user,
		},
		{about: "The proxy's status: shards, issuers, configurations, certificates.", line: "kubectl --kubeconfig $ADMIN --server $PROXY get --raw /statusz", want: "shard-1"},
		{about: "Its metrics.", line: "kubectl --kubeconfig $ADMIN --server $PROXY get --raw /metrics", only: "front_proxy_decisions_total{ front_proxy_issuers{", want: "front_proxy_decisions_total"},
	}
}

// show runs every act, prints it, and fails when one goes otherwise.
func (s *scene) show(ctx context.Context, t *terminal) error {
	last, err := s.play(ctx, t, s.acts())
	if err != nil {
		return err
	}
	id := refusalID.FindSubmatch(last)
	if id == nil {
		return fmt.Errorf("the refusal has no id: %s", last)
	}
	_, err = s.play(ctx, t, s.inside(string(id[1])))
	return err
}

// play returns the output of the last act.
func (s *scene) play(ctx context.Context, t *terminal, acts []act) (output []byte, err error) {
	for _, a := range acts {
		if a.about != "" {
			t.say("\n%s\n", wrapped(a.about, columns))
			if a.elsewhere {
				t.say("$ %s\n", t.styled(bold, elsewhere))
			}
		}
		t.say("$ %s\n", t.styled(bold, a.line))
		output, err = s.run(ctx, a)
		t.say("%s", printed(output, a.only))
		var exit *exec.ExitError
		switch {
		case err != nil && !errors.As(err, &exit):
			return nil, fmt.Errorf("run %s: %w", a.line, err)
		case (err != nil) != a.fails, !bytes.Contains(output, []byte(a.want)):
			return nil, fmt.Errorf("%s: wanted %q in the output and failure to be %t; it failed: %t; the proxy's log is %s",
				a.line, a.want, a.fails, err != nil, s.env.Proxy.Log())
		case a.fails:
			t.say("  %s\n", t.styled(green, "✓ refused, as it should be"))
		default:
			t.say("  %s\n", t.styled(green, "✓"))
		}
	}
	return output, nil
}

// elsewhere makes a shell one on a machine where Alice has nothing.
const elsewhere = "export KUBECONFIG=$ELSEWHERE/kubeconfig KCP_LOGIN_HOME=$ELSEWHERE/logins"

// run has bash run a line as in the shell of a person who repeats it.
func (s *scene) run(ctx context.Context, a act) ([]byte, error) {
	script := "source " + s.shellFile + "\n"
	if a.elsewhere {
		script += elsewhere + "\n"
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", script+a.line) //nolint:gosec // our own lines
	cmd.Stdin = strings.NewReader(a.typed)
	return cmd.CombinedOutput()
}

// explain says what to try. Its last line starts with "demo ready".
func (s *scene) explain(t *terminal) {
	t.say(`
All these commands can be repeated in another terminal, in a bash that has read this file:
  source %s
What to try there:
  kubectl --kubeconfig $ADMIN --server $PROXY/clusters/root:demo get workspaces,workspacetypes
  front-proxy explain --help                   # why, for operators
  docs/quick-start.md                          # a type of your own, step by step
Logs: %s

demo ready: front-proxy at %s (Ctrl-C ends it and everything it started)
`, s.shellFile, s.env.Logs(), s.env.Proxy.URL)
}

// logLine is one of kubectl's own log, which repeats what it then prints.
var logLine = regexp.MustCompile(`^[EIW]\d{4} `)

// printed are the lines to show, indented and cut to the width of the demo: those that begin
// with one of the words, or all when there are none.
func printed(output []byte, words string) string {
	var b strings.Builder
	for line := range strings.Lines(string(output)) {
		begins := func(word string) bool { return strings.HasPrefix(strings.TrimLeft(line, " "), word) }
		if logLine.MatchString(line) || words != "" && !slices.ContainsFunc(strings.Fields(words), begins) {
			continue
		}
		for part := range strings.SplitSeq(wrappedIfProse(strings.TrimSuffix(line, "\n")), "\n") {
			b.WriteString("    " + clipped(part, columns-4) + "\n")
		}
	}
	return b.String()
}

// wrappedIfProse breaks what is said in sentences; tables are cut instead.
func wrappedIfProse(line string) string {
	for _, begin := range []string{"Warning: ", "error: ", "Error from server", "  workspace ", "Configuration used: "} {
		if strings.HasPrefix(line, begin) {
			indentation := line[:len(line)-len(strings.TrimLeft(line, " "))]
			return indentation + strings.ReplaceAll(wrapped(line, columns-4-2*len(indentation)), "\n", "\n"+indentation+indentation)
		}
	}
	return line
}
