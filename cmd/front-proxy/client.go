package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"frontproxy/internal/kubeconfig"
	"frontproxy/proxy/zpages"
)

// connectOptions say which running proxy is asked, and how its answer is printed.
type connectOptions struct {
	kubeconfig, context, server, tlsName string
	debugAddress                         string
	clientOptions
}

func (o *connectOptions) flags(fs *pflag.FlagSet) {
	o.clientOptions.flags(fs, time.Minute)
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "Kubeconfig for the proxy. Empty means the default locations.")
	fs.StringVar(&o.context, "context", "", "Context of the kubeconfig. Empty means the current one.")
	fs.StringVar(&o.server, "server", "", "https://host:port of the proxy, instead of the kubeconfig's; for example, of one replica. With explain --workspace, /clusters/<path> after it names another workspace.")
	fs.StringVar(&o.tlsName, "tls-server-name", "", "Name to expect in the proxy's certificate, if --server's host is not in it.")
	fs.StringVar(&o.debugAddress, "debug-address", "", "Ask at the proxy's --debug-address instead: host:port, or unix:///path. It answers when root is down, too.")
}

// proxyClient asks a running proxy about itself.
type proxyClient struct {
	client *http.Client
	base   string // the URL in front of the proxy's own paths
	// forbidden is advice for when the proxy refuses, unavailable for when it cannot find out
	// whether the caller may ask.
	forbidden, unavailable string
}

// client returns a client of the proxy. With workspace, it asks in the workspace that the
// kubeconfig's server names.
func (o *connectOptions) client(workspace bool) (*proxyClient, error) {
	if o.debugAddress != "" {
		return newDebugClient(o.debugAddress), nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context}).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err) && o.kubeconfig == "":
		return nil, errors.New("there is no kubeconfig at $KUBECONFIG or ~/.kube/config: give --kubeconfig, or --debug-address on the proxy's machine")
	case err != nil && o.kubeconfig != "":
		return nil, fmt.Errorf("--kubeconfig %s: %w", o.kubeconfig, kubeconfig.LoadError(o.kubeconfig, err))
	case err != nil:
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return newProxyClient(config, o.server, o.tlsName, workspace)
}

func newProxyClient(config *rest.Config, server, tlsName string, workspace bool) (*proxyClient, error) {
	base, err := baseURL(config.Host, server, workspace)
	if err != nil {
		return nil, err
	}
	c := &proxyClient{
		base:        base,
		forbidden:   "this needs get (for --path: post) on the non-resource URL " + zpages.ExplainPath + " in the workspace root; administrators of a workspace use --workspace",
		unavailable: "if root is down, ask at the proxy's --debug-address, which needs nobody's permission: docs/troubleshooting.md, When root is down",
	}
	if workspace {
		c.forbidden = "an ID needs get on the non-resource URL " + zpages.ExplainPath + " in that workspace; without one, this needs get (with --dry-run: update) on workspaceauthenticationconfigurations there"
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
	c.client = &http.Client{Transport: rounds, CheckRedirect: noRedirect}
	return c, nil
}

// baseURL returns the URL in front of the proxy's own paths, or with workspace in front of
// those of the workspace that the kubeconfig's server names. server, unless empty, replaces the
// kubeconfig's host.
func baseURL(kubeconfigs, server string, workspace bool) (string, error) {
	host := cmp.Or(server, kubeconfigs)
	u, err := url.Parse(host)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("the server %q is not a URL; it must be like https://host:6443", host)
	}
	path := strings.TrimRight(u.Path, "/")
	if server != "" && workspace && !strings.Contains(path, "/clusters/") {
		from, err := url.Parse(kubeconfigs)
		if err != nil {
			return "", fmt.Errorf("the kubeconfig's server: %w", err)
		}
		path = strings.TrimRight(from.Path, "/")
	}
	prefix, _, inWorkspace := strings.Cut(path, "/clusters/")
	switch {
	case !workspace:
		path = prefix
	case !inWorkspace:
		return "", fmt.Errorf("--workspace: the kubeconfig's server %s contains no workspace; it must be like https://host/clusters/root:org:ws", kubeconfigs)
	}
	return u.Scheme + "://" + u.Host + path, nil
}

// noRedirect prevents redirects, because a question may contain a token.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newDebugClient returns a client for a debug address on this machine.
func newDebugClient(address string) *proxyClient {
	c := &proxyClient{base: "http://" + address, forbidden: "the debug address serves only localhost and loopback addresses"}
	transport := &http.Transport{}
	if path, socket := strings.CutPrefix(address, unixScheme); socket {
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	}
	c.client = &http.Client{Transport: transport, CheckRedirect: noRedirect}
	return c
}

// maxPage bounds, in bytes, what is read of an answer.
const maxPage = 16 << 20

// send sends one request. most bounds, in bytes, what is read of the answer's body.
func send(ctx context.Context, client *http.Client, method, url, accept string, body []byte, most int64) (serverAnswer, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return serverAnswer{}, err
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return serverAnswer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, most))
	return serverAnswer{resp.StatusCode, resp.Status, text}, err
}

// serverAnswer is a response whose body has been read.
type serverAnswer struct {
	code   int
	status string // with the code
	body   []byte
}

// do sends one request and returns the body of the answer. If that is a Status, the error is an
// apierrors.StatusError.
func (c *proxyClient) do(ctx context.Context, method, path, accept string, body []byte) ([]byte, error) {
	a, err := send(ctx, c.client, method, c.base+path, accept, body, maxPage)
	if err != nil {
		return nil, err
	}
	if a.code == http.StatusOK {
		return a.body, nil
	}
	var s metav1.Status
	if json.Unmarshal(a.body, &s) != nil || s.Message == "" {
		return nil, fmt.Errorf("%s answers %s", c.base, a.status)
	}
	advice := ""
	switch a.code {
	case http.StatusForbidden, http.StatusUnauthorized:
		advice = c.forbidden
	case http.StatusServiceUnavailable:
		advice = c.unavailable
	}
	if advice != "" {
		s.Message += "\n(" + advice + ")"
	}
	return nil, &apierrors.StatusError{ErrStatus: s}
}

// errNoPage is for an answer that is not a page of a front-proxy.
var errNoPage = errors.New("the server answers, but not with a page of a front-proxy; a /clusters/… in --server leads to a shard")
