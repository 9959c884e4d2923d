package harness

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
)

// ProxyOptions say how a proxy is started. The zero value is this
// repository's, with workspace authentication on.
type ProxyOptions struct {
	// Incumbent starts kcp's own kcp-front-proxy instead.
	Incumbent bool
	// WithoutWorkspaceAuthentication leaves the feature gate off.
	WithoutWorkspaceAuthentication bool
	// LoginDiscovery makes it publish where to log in, at the address where it listens.
	LoginDiscovery bool
	// MountReentry lets shards assert who is asking for a mounted workspace.
	MountReentry bool
	// Args are added to the command line.
	Args []string
}

// Proxy is a proxy process in front of an environment's shards.
type Proxy struct {
	// URL is where it listens; it stays the same over restarts.
	URL string

	env     *Environment
	name    string
	binary  string
	args    []string
	process *Program
}

// NewProxy makes another proxy, with its own port, certificates and mapping. Nothing runs before Start; the caller stops it.
func (e *Environment) NewProxy(name string, o ProxyOptions) (*Proxy, error) {
	dir := filepath.Join(e.Dir, name)
	serving, err := e.ServingCA.Serving(dir, "serving")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	mapping := filepath.Join(dir, "mapping.yaml")
	if err := os.WriteFile(mapping, []byte(e.mapping()), 0o600); err != nil {
		return nil, fmt.Errorf("write the mapping of %s: %w", name, err)
	}
	p := &Proxy{URL: loopback(port), env: e, name: name, binary: e.config.Binaries.FrontProxy}
	if o.Incumbent {
		p.binary = e.config.Binaries.KCPFrontProxy
	}
	p.args = []string{
		"--mapping-file=" + mapping,
		"--root-kubeconfig=" + e.rootKubeconfig(),
		"--shards-kubeconfig=" + e.shardsKubeconfig(),
		"--root-directory=" + dir,
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + serving.CertFile,
		"--tls-private-key-file=" + serving.KeyFile,
		"--client-ca-file=" + e.ClientCA.File,
		fmt.Sprintf("--feature-gates=WorkspaceAuthentication=%t", !o.WithoutWorkspaceAuthentication),
		"-v=9", // everything there is to log: secrets are looked for in it
	}
	if o.LoginDiscovery {
		p.args = append(p.args, "--feature-gates=LoginDiscovery=true", "--external-url="+p.URL)
	}
	p.args = append(p.args, e.gates()...)
	if o.MountReentry {
		p.args = append(p.args,
			"--requestheader-client-ca-file="+e.RequestHeaderCA.File,
			"--requestheader-allowed-names="+mountsProxy,
			"--requestheader-username-headers=X-Remote-User",
			"--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-")
	}
	p.args = append(p.args, o.Args...)
	return p, nil
}

// ChangeImage makes a proxy that was the incumbent this repository's: the next
// Start has the same arguments and the same address, as when an operator
// changes nothing but the image.
func (p *Proxy) ChangeImage() { p.binary = p.env.config.Binaries.FrontProxy }

// mapping is the operator's: /clusters/ by shard, /services/ at the root shard.
func (e *Environment) mapping() string {
	var b strings.Builder
	for _, path := range []string{"/clusters/", "/services/"} {
		fmt.Fprintf(&b, "- path: %s\n  backend: %s\n  backend_server_ca: %s\n  proxy_client_cert: %s\n  proxy_client_key: %s\n",
			path, loopback(e.rootPort), e.ServingCA.File, e.forwarding.CertFile, e.forwarding.KeyFile)
	}
	return b.String()
}

// Start starts it, again if it was stopped, and waits until it is ready.
func (p *Proxy) Start(ctx context.Context) error {
	if err := p.Launch(); err != nil {
		return err
	}
	return awaitReady(ctx, p.process, p.env.admin.config(p.URL, p.env.ServingCA.PEM))
}

// Launch starts it and does not wait.
func (p *Proxy) Launch() error {
	p.env.config.Progress("starting the " + p.name)
	started, err := startProcess(p.name, p.Log(), nil, p.binary, p.args...)
	if err != nil {
		return err
	}
	p.process = started
	return nil
}

// Stop ends it with SIGTERM. The error says that it had to be killed, or that
// its exit status was not 0; it has ended all the same. Stopping one that does
// not run is fine.
func (p *Proxy) Stop() error {
	if p.process.Stop() {
		return nil
	}
	return fmt.Errorf("the %s did not end well within %s of SIGTERM; the end of %s:\n%s", p.name, stopGrace, p.Log(), tail(p.Log(), 2000))
}

// Log is its log file.
func (p *Proxy) Log() string { return filepath.Join(p.env.Logs(), p.name+".log") }

// Alive returns nil while its process runs, else how that ended.
func (p *Proxy) Alive() error { return p.process.Alive() }

// PID is its process id.
func (p *Proxy) PID() int { return p.process.PID() }

// Admin is kcp-admin through this proxy.
func (p *Proxy) Admin() *Client {
	config := p.env.admin.config(p.URL, p.env.ServingCA.PEM)
	config.WrapTransport = p.env.refusals.wrap
	c := NewClient(config)
	c.env = p.env
	return c
}

// Certificate is whoever a client certificate says, through this proxy; no
// certificate with a zero keys. It sends header besides, with every request.
func (p *Proxy) Certificate(keys KeyPair, header http.Header) *Client {
	config := &rest.Config{Host: p.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: p.env.ServingCA.PEM}}
	if len(keys.Cert) > 0 {
		config = keys.config(p.URL, p.env.ServingCA.PEM)
	}
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return p.env.refusals.wrap(sending{next, header})
	}
	return NewClient(config)
}

// sending adds headers.
type sending struct {
	next   http.RoundTripper
	header http.Header
}

// RoundTrip implements http.RoundTripper.
func (s sending) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	maps.Copy(request.Header, s.header)
	return s.next.RoundTrip(request)
}

// Token is whoever token says, through this proxy.
func (p *Proxy) Token(token string) *Client {
	p.env.secrets.Add(token)
	return NewClient(&rest.Config{
		Host: p.URL, QPS: -1, BearerToken: token, WrapTransport: p.env.refusals.wrap, TLSClientConfig: rest.TLSClientConfig{CAData: p.env.ServingCA.PEM},
	})
}
