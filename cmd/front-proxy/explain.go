package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"frontproxy/proxy/zpages"
)

const explainUsage = `Explain asks a running front-proxy why it refused a request, or what it would decide
about a credential.

  front-proxy explain <id>
        explains a refusal, by the ID in details.uid of the Status that the client
        got. This does not need the client's credential.
  front-proxy explain --path=/clusters/root:org:ws/api/v1/namespaces --token-file=token.jwt
        explains what the proxy decides about a token on a path; - reads the token
        from standard input. --certificate-file gives a client certificate instead
        (without its key). With neither, the request has no credential.
        --asserted-file gives the user that a proxy or a shard with this certificate
        asserts in X-Remote-* headers.
  front-proxy explain --path=… --token-file=… --dry-run=new.yaml
        does the same as if the WorkspaceAuthenticationConfigurations and
        WorkspaceTypes in the file were applied in the workspace that owns the type.
        Nothing is applied.

The proxy is the one of the kubeconfig, or that of --debug-address. Asking needs
get (for --path: post) on the non-resource URL /debug/explain in the workspace
root. Administrators of a workspace may ask for refusals of that workspace:
with --workspace, and a kubeconfig whose server is that workspace.

  front-proxy explain --workspace
        shows how the workspace's WorkspaceAuthenticationConfigurations do: their
        state, their issuers and keys, and what they refused in the last hour.
        --configuration shows one of them. This needs get on the objects.
  front-proxy explain --workspace --dry-run=new.yaml --token-file=token.jwt
        shows how the WorkspaceAuthenticationConfigurations in the file would do if
        they were applied there, and what they would decide about the token. This
        needs update on the objects. Nothing is applied.

Flags:
`

// explainOptions are the flags of explain.
type explainOptions struct {
	kubeconfig, context, server, tlsName string
	debugAddress                         string
	workspace                            bool
	configuration                        string
	path, method                         string
	tokenFile, certificateFile, dryRun   string
	assertedFile                         string
	clientOptions
}

func (o *explainOptions) flags() *pflag.FlagSet {
	fs := o.flagSet("explain", time.Minute)
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "Kubeconfig for the proxy. Empty means the default locations.")
	fs.StringVar(&o.context, "context", "", "Context of the kubeconfig. Empty means the current one.")
	fs.StringVar(&o.server, "server", "", "https://host:port of the proxy, instead of the kubeconfig's; for example, of one replica. With --workspace, /clusters/<path> after it names another workspace.")
	fs.StringVar(&o.tlsName, "tls-server-name", "", "Name to expect in the proxy's certificate, if --server's host is not in it.")
	fs.StringVar(&o.debugAddress, "debug-address", "", "Ask at the proxy's --debug-address instead: host:port, or unix:///path.")
	fs.BoolVar(&o.workspace, "workspace", false, "Ask as an administrator of the workspace in the kubeconfig's server URL.")
	fs.StringVar(&o.configuration, "configuration", "", "With --workspace and no ID: show only this WorkspaceAuthenticationConfiguration.")
	fs.StringVar(&o.path, "path", "", "Path of a request to explain, instead of the ID of a refusal.")
	fs.StringVar(&o.method, "method", http.MethodGet, "Method of that request.")
	fs.StringVar(&o.tokenFile, "token-file", "", "File with the bearer token of that request; - is standard input.")
	fs.StringVar(&o.certificateFile, "certificate-file", "", "PEM file with the client certificate of that request and the chain.")
	fs.StringVar(&o.assertedFile, "asserted-file", "", "YAML or JSON file of the UserInfo (username, uid, groups, extra) that the certificate's owner asserts.")
	fs.StringVar(&o.dryRun, "dry-run", "", "YAML or JSON file of objects to treat as applied; - is standard input.")
	return fs
}

// runExplain is the subcommand.
func runExplain(ctx context.Context, args []string, stdout io.Writer) error {
	o := &explainOptions{}
	fs := o.flags()
	if done, err := o.parse(fs, args, explainUsage, stdout, o.validate); done || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	question, err := o.question()
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	asker, err := o.client()
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	id := fs.Arg(0)
	if o.workspace && id == "" {
		return o.explainConfigurations(ctx, asker, question, stdout)
	}
	e, err := asker.ask(ctx, id, question)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	return render(stdout, o.output, e, func(w io.Writer) { explainText(w, e) })
}

func (o *explainOptions) validate(args []string) error {
	switch {
	case len(args) > 1:
		return fmt.Errorf("only one refusal at a time: unexpected %q", args[1])
	case len(args) == 1 && o.path != "":
		return errors.New("give either the ID of a refusal or --path, not both")
	case o.configuration != "" && (!o.workspace || len(args) > 0 || o.dryRun != ""):
		return errors.New("--configuration needs --workspace, and neither an ID nor --dry-run")
	case o.workspace && len(args) == 0 && o.path == "":
		return o.validateConfigurations()
	case len(args) == 0 && o.path == "":
		return errors.New("give the ID of a refusal, --path or --workspace")
	case o.path == "" && (o.tokenFile != "" || o.certificateFile != "" || o.dryRun != ""):
		return errors.New("--token-file, --certificate-file and --dry-run need --path")
	case o.assertedFile != "" && o.certificateFile == "":
		return errors.New("--asserted-file needs --certificate-file: the proxy reads identity headers only from a client with a certificate")
	case o.tokenFile == "-" && o.dryRun == "-":
		return errors.New("--token-file and --dry-run cannot both be standard input")
	case o.workspace && o.path != "":
		return errors.New("--workspace is only for refusals: only operators may use --path")
	case o.workspace && o.debugAddress != "":
		return errors.New("--workspace and --debug-address cannot be combined")
	}
	return nil
}

// question returns nil if the command asks about a refusal.
func (o *explainOptions) question() (*zpages.ExplainRequest, error) {
	if o.path == "" && o.dryRun == "" {
		return nil, nil
	}
	q := &zpages.ExplainRequest{Path: o.path, Method: o.method}
	if o.tokenFile != "" {
		text, err := readInput(o.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		if q.Token = strings.TrimSpace(string(text)); q.Token == "" {
			return nil, fmt.Errorf("--token-file %s is empty", o.tokenFile)
		}
	}
	if o.certificateFile != "" {
		text, err := os.ReadFile(o.certificateFile)
		if err != nil {
			return nil, fmt.Errorf("--certificate-file: %w", err)
		}
		if q.Certificates = certificatesOnly(text); q.Certificates == "" {
			return nil, fmt.Errorf("--certificate-file %s has no PEM certificate", o.certificateFile)
		}
	}
	if o.assertedFile != "" {
		text, err := os.ReadFile(o.assertedFile)
		if err != nil {
			return nil, fmt.Errorf("--asserted-file: %w", err)
		}
		if err := yaml.UnmarshalStrict(text, &q.Asserted); err != nil {
			return nil, fmt.Errorf("--asserted-file %s: not a UserInfo: %w", o.assertedFile, err)
		}
	}
	if o.dryRun == "" {
		return q, nil
	}
	text, err := readInput(o.dryRun)
	if err != nil {
		return nil, fmt.Errorf("--dry-run: %w", err)
	}
	if q.Change, err = readChange(text); err != nil {
		return nil, fmt.Errorf("--dry-run %s: %w", o.dryRun, err)
	}
	return q, nil
}

// maxInput limits how much of a file is read.
const maxInput = 1 << 20

func readInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, maxInput))
	}
	return os.ReadFile(name) //nolint:gosec // the user's file
}

// explainClient asks a proxy for explanations.
type explainClient struct {
	client *http.Client
	base   string // the URL in front of /debug/explain
	hint   string // advice if it is forbidden
}

func (o *explainOptions) client() (*explainClient, error) {
	if o.debugAddress != "" {
		return newDebugClient(o.debugAddress), nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return newExplainClient(config, o.server, o.tlsName, o.workspace)
}

func newExplainClient(config *rest.Config, server, tlsName string, workspace bool) (*explainClient, error) {
	host := config.Host
	if server != "" {
		host = server
	}
	u, err := url.Parse(host)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the server %q is not a URL", host)
	}
	path := strings.TrimRight(u.Path, "/")
	if server != "" && workspace && !strings.Contains(path, "/clusters/") {
		from, err := url.Parse(config.Host)
		if err != nil {
			return nil, fmt.Errorf("the kubeconfig's server: %w", err)
		}
		path = strings.TrimRight(from.Path, "/")
	}
	prefix, cluster, inWorkspace := strings.Cut(path, "/clusters/")
	a := &explainClient{hint: "this needs get (with --path: post) on the non-resource URL " + zpages.ExplainPath + " in the workspace root; administrators of a workspace use --workspace"}
	switch {
	case workspace && !inWorkspace:
		return nil, fmt.Errorf("--workspace: the kubeconfig's server %s contains no workspace; it must be like https://host/clusters/root:org:ws", config.Host)
	case workspace:
		a.base, a.hint = u.Scheme+"://"+u.Host+prefix+"/clusters/"+cluster, "an ID needs get on the non-resource URL "+zpages.ExplainPath+" in that workspace; without one, this needs get (with --dry-run: update) on workspaceauthenticationconfigurations there"
	default:
		a.base = u.Scheme + "://" + u.Host + prefix
	}
	config = rest.CopyConfig(config)
	if tlsName != "" {
		config.ServerName = tlsName
	}
	transport, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	// Use a new connection for each question, so that a load balancer may choose
	// another replica the next time. The operator chose the server, so the only time
	// limit is the command's context.
	rounds, err := rest.HTTPWrappersForConfig(config, &http.Transport{TLSClientConfig: transport, DisableKeepAlives: true, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	a.client = &http.Client{Transport: rounds, CheckRedirect: noRedirect}
	return a, nil
}

// noRedirect prevents redirects, because a question may contain a token.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newDebugClient returns a client for a debug address on this machine.
func newDebugClient(address string) *explainClient {
	a := &explainClient{base: "http://" + address, hint: "the debug address serves only localhost and loopback addresses"}
	transport := &http.Transport{}
	if path, socket := strings.CutPrefix(address, unixScheme); socket {
		a.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	}
	a.client = &http.Client{Transport: transport, CheckRedirect: noRedirect}
	return a
}

// replicaTries is how often explain asks for a refusal, each time on a new
// connection, until it reaches the replica that has it.
const replicaTries = 12

func (a *explainClient) ask(ctx context.Context, id string, q *zpages.ExplainRequest) (*zpages.Explanation, error) {
	if q != nil {
		body, err := json.Marshal(q)
		if err != nil {
			return nil, err
		}
		e, _, err := a.once(ctx, http.MethodPost, zpages.ExplainPath, body)
		return e, err
	}
	var err error
	for range replicaTries {
		var e *zpages.Explanation
		var elsewhere bool
		if e, elsewhere, err = a.once(ctx, http.MethodGet, zpages.ExplainPath+"/"+url.PathEscape(id), nil); !elsewhere {
			return e, err
		}
	}
	return nil, fmt.Errorf("%w\n(none of %d tries reached that instance: set --server to it, or use its --debug-address, for example through kubectl port-forward)", err, replicaTries)
}

// once sends one question. elsewhere reports whether another replica must be asked.
func (a *explainClient) once(ctx context.Context, method, path string, body []byte) (e *zpages.Explanation, elsewhere bool, err error) {
	e = &zpages.Explanation{}
	elsewhere, err = a.fetch(ctx, method, path, body, e)
	if err != nil {
		return nil, elsewhere, err
	}
	return e, false, nil
}

// fetch sends one question and decodes the answer into page. elsewhere reports whether
// another replica must be asked.
func (a *explainClient) fetch(ctx context.Context, method, path string, body []byte, page any) (elsewhere bool, err error) {
	r, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	resp, err := a.client.Do(r)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return false, err
	}
	if resp.StatusCode == http.StatusOK {
		var header struct {
			Instance string `json:"instance"`
		}
		if json.Unmarshal(text, &header) != nil || header.Instance == "" || json.Unmarshal(text, page) != nil {
			return false, fmt.Errorf("%s is not a front-proxy, or not one that serves explanations", a.base)
		}
		return false, nil
	}
	var s metav1.Status
	if json.Unmarshal(text, &s) != nil || s.Message == "" {
		return false, fmt.Errorf("%s answers %s", a.base, resp.Status)
	}
	if resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized {
		return false, fmt.Errorf("%s\n(%s)", s.Message, a.hint)
	}
	return s.Reason == zpages.ReasonOtherInstance, errors.New(s.Message)
}
