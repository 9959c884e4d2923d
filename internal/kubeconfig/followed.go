package kubeconfig

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"sync/atomic"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/filewatch"
)

// Followed is a kubeconfig whose files are read again when they change, while
// Run runs. Requests go out with what the files held when they were last good;
// one under way ends as it began. The server stays the one it was: another needs
// a restart, and is reported as a file that cannot be used.
//
// It does not leave the files of a client certificate to client-go, which looks
// every five minutes, closes every connection at a change, and follows neither
// CAs nor what stands in the kubeconfig itself.
type Followed struct {
	name  string
	paths []string
	load  func() (*rest.Config, error)
	log   klog.Logger

	current atomic.Pointer[loaded]
	filewatch.Outcome
}

// loaded is one reading. Immutable.
type loaded struct {
	config *rest.Config // with the content of its files
	files  []string
	http   [2]http.RoundTripper // by protocol
}

// protocol is what is spoken where the server offers HTTP/2.
type protocol int

const (
	http2 protocol = iota
	http1
)

// Follow reads a kubeconfig for the first time. name is what metrics, logs and
// errors call it: its flag. paths are the kubeconfig files, none where the
// credentials are those of a pod; load makes a configuration of them.
func Follow(name string, paths []string, load func() (*rest.Config, error), log klog.Logger) (*Followed, error) {
	f := &Followed{name: name, paths: paths, load: load, log: log}
	first, err := f.read()
	if err != nil {
		return nil, err
	}
	f.current.Store(first)
	return f, nil
}

// Config is for clients that share connections; it speaks HTTP/2 where offered.
func (f *Followed) Config() *rest.Config { return f.config(http2) }

// HTTP1 is for clients that speak HTTP/1.1 only.
func (f *Followed) HTTP1() *rest.Config { return f.config(http1) }

func (f *Followed) config(p protocol) *rest.Config {
	c := f.current.Load().config
	return &rest.Config{Host: c.Host, APIPath: c.APIPath, UserAgent: c.UserAgent, Transport: &transport{f, p}}
}

// Certificate is the client certificate in use, as PEM; nil when there is none.
func (f *Followed) Certificate() []byte { return f.current.Load().config.CertData }

// Run follows the files until ctx ends.
func (f *Followed) Run(ctx context.Context) error {
	filewatch.WatchAll(ctx, clock.RealClock{}, f.log, func() []string { return f.current.Load().files }, f.reload)
	return nil
}

func (f *Followed) reload() {
	old := f.current.Load()
	next, err := f.read()
	if err == nil && next.config.Host != old.config.Host {
		err = fmt.Errorf("--%s now names the server %q, and %q is in use: restart to change servers", f.name, next.config.Host, old.config.Host)
	}
	if f.Set(err) {
		f.log.Error(err, "A kubeconfig was not reloaded; what was read before stays in use", "flag", f.name)
	}
	if err != nil || same(old.config, next.config) {
		return
	}
	f.current.Store(next)
	old.closeIdle()
	f.log.Info("Reloaded a kubeconfig", "flag", f.name)
}

// read makes new transports. That costs nothing before they are used.
func (f *Followed) read() (*loaded, error) {
	config, err := f.load()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	next := &loaded{config: config, files: slices.Clone(f.paths)}
	for _, file := range []string{config.CAFile, config.CertFile, config.KeyFile, config.BearerTokenFile} {
		if file != "" {
			next.files = append(next.files, file)
		}
	}
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("--%s: %w", f.name, err)
	}
	// With their content known the files would only be read by client-go.
	config.CAFile, config.CertFile, config.KeyFile = "", "", ""
	for p := range next.http {
		if next.http[p], err = newTransport(config, protocol(p)); err != nil {
			return nil, fmt.Errorf("--%s: %w", f.name, err)
		}
	}
	return next, nil
}

// newTransport makes one of client-go's, to the server of an operator's kubeconfig.
// It bounds how long a connection and a handshake take; how long an answer may, and
// how much of it is read, is the business of who asks.
func newTransport(config *rest.Config, p protocol) (http.RoundTripper, error) {
	config = rest.CopyConfig(config)
	config.Timeout = 0
	if p == http1 {
		config.NextProtos = []string{"http/1.1"}
	}
	if config.Proxy == nil {
		// Told so, client-go makes a transport for us alone and keeps none of it.
		config.Proxy = http.ProxyFromEnvironment
	}
	return rest.TransportFor(config)
}

// same compares what requests are sent with.
func same(a, b *rest.Config) bool {
	return reflect.DeepEqual(a.TLSClientConfig, b.TLSClientConfig) && a.BearerToken == b.BearerToken && a.BearerTokenFile == b.BearerTokenFile &&
		a.Username == b.Username && a.Password == b.Password && reflect.DeepEqual(a.Impersonate, b.Impersonate) &&
		reflect.DeepEqual(a.ExecProvider, b.ExecProvider) && reflect.DeepEqual(a.AuthProvider, b.AuthProvider) && proxyOf(a) == proxyOf(b)
}

// proxyOf is the URL of the proxy that the kubeconfig names, empty for none.
func proxyOf(c *rest.Config) string {
	if c.Proxy == nil {
		return ""
	}
	u, err := c.Proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: "every.server"}})
	if err != nil || u == nil {
		return ""
	}
	return u.String()
}

func (l *loaded) closeIdle() {
	for _, t := range l.http {
		utilnet.CloseIdleConnectionsFor(t)
	}
}

// transport sends requests with what is current.
type transport struct {
	f *Followed
	p protocol
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.f.current.Load().http[t.p].RoundTrip(r)
}

// CloseIdleConnections closes those of all clients of the kubeconfig.
func (t *transport) CloseIdleConnections() {
	utilnet.CloseIdleConnectionsFor(t.f.current.Load().http[t.p])
}
