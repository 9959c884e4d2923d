package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/filewatch"
)

// DynamicConfig is a kubeconfig whose files are read again when they change, while
// Run runs. New requests use the last good content of the files; running requests
// keep what they began with. The server cannot change: a different one is reported as
// a file that cannot be used, and needs a restart.
//
// DynamicConfig does not leave client certificate files to client-go, which checks
// them every five minutes, closes every connection at a change, and follows neither
// CAs nor the content of the kubeconfig itself.
type DynamicConfig struct {
	name  string
	paths []string
	load  func() (*rest.Config, error)

	*filewatch.File[*loaded]
}

// loaded is one reading. Immutable.
type loaded struct {
	config *rest.Config         // with the content of its files
	http   [2]http.RoundTripper // by protocol
}

// protocol is the protocol to use if the server offers HTTP/2.
type protocol int

const (
	http2 protocol = iota
	http1
)

// NewDynamicConfig reads a kubeconfig for the first time. name is its name in
// metrics, logs and errors: its flag. paths are the kubeconfig files; there are none
// for the credentials of a pod. load makes a configuration from them, and handles
// missing files. A nil clock is the real one.
func NewDynamicConfig(name string, paths []string, load func() (*rest.Config, error), clk clock.Clock, log klog.Logger) (*DynamicConfig, error) {
	f := &DynamicConfig{name: name, paths: paths, load: load}
	var last *loaded
	var err error
	f.File, err = filewatch.New(filewatch.Config[*loaded]{
		Name: name,
		Load: func(_ context.Context, read filewatch.ReadFunc) (*loaded, error) {
			next, err := f.read(read)
			switch {
			case err != nil:
				return nil, err
			case last == nil:
			case next.config.Host != last.config.Host:
				return nil, fmt.Errorf("--%s now has the server %q, but %q is in use; restart to change servers", name, next.config.Host, last.config.Host)
			case same(last.config, next.config):
				return last, nil
			}
			last = next
			return next, nil
		},
		Use: func(old, next *loaded) {
			if old != next {
				old.closeIdle()
			}
		},
		Clock: clk, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Config is for clients that share connections; it uses HTTP/2 if offered.
func (f *DynamicConfig) Config() *rest.Config { return f.config(http2) }

// HTTP1 is for clients that use only HTTP/1.1.
func (f *DynamicConfig) HTTP1() *rest.Config { return f.config(http1) }

func (f *DynamicConfig) config(p protocol) *rest.Config {
	c := f.Get().config
	return &rest.Config{Host: c.Host, APIPath: c.APIPath, UserAgent: c.UserAgent, Transport: &transport{f, p}}
}

// Certificate returns the client certificate in use, as PEM; nil if there is none.
func (f *DynamicConfig) Certificate() []byte { return f.Get().config.CertData }

// read makes new transports. They cost nothing until they are used.
func (f *DynamicConfig) read(read filewatch.ReadFunc) (*loaded, error) {
	before, err := f.texts(read)
	if err != nil {
		return nil, err
	}
	config, err := f.load()
	if err != nil {
		return nil, err
	}
	// load reads the files itself, so check that it read the complete content.
	after, err := f.texts(read)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(before, after) {
		return nil, fmt.Errorf("--%s: the file changed while it was read", f.name)
	}
	config = rest.CopyConfig(config)
	for _, named := range []struct {
		file string
		data *[]byte
	}{{config.CAFile, &config.CAData}, {config.CertFile, &config.CertData}, {config.KeyFile, &config.KeyData}} {
		if named.file == "" || len(*named.data) > 0 { // inline data takes precedence, as in client-go
			continue
		}
		if *named.data, err = read(named.file); err != nil {
			return nil, fmt.Errorf("--%s: %w", f.name, err)
		}
	}
	if config.BearerTokenFile != "" {
		token, err := read(config.BearerTokenFile)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", f.name, err)
		}
		config.BearerToken = strings.TrimSpace(string(token))
	}
	// Their content is already known. With the paths set, client-go would read the
	// files again, complete or not.
	config.CAFile, config.CertFile, config.KeyFile, config.BearerTokenFile = "", "", "", ""
	next := &loaded{config: config}
	for p := range next.http {
		if next.http[p], err = newTransport(config, protocol(p)); err != nil {
			return nil, fmt.Errorf("--%s: %w", f.name, err)
		}
	}
	return next, nil
}

// texts returns the contents of the existing kubeconfig files.
func (f *DynamicConfig) texts(read filewatch.ReadFunc) ([][]byte, error) {
	var all [][]byte
	for _, path := range f.paths {
		text, err := read(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("--%s: %w", f.name, err)
		}
		all = append(all, text)
	}
	return all, nil
}

// newTransport makes a client-go transport to the server of an operator's kubeconfig.
// It limits how long a connection and a handshake may take; the caller limits the
// duration and size of responses.
func newTransport(config *rest.Config, p protocol) (http.RoundTripper, error) {
	config = rest.CopyConfig(config)
	config.Timeout = 0
	if p == http1 {
		config.NextProtos = []string{"http/1.1"}
	}
	if config.Proxy == nil {
		// With this set, client-go makes a transport only for us and does not cache
		// it.
		config.Proxy = http.ProxyFromEnvironment
	}
	return rest.TransportFor(config)
}

// same reports whether requests would be sent in the same way.
func same(a, b *rest.Config) bool {
	return reflect.DeepEqual(a.TLSClientConfig, b.TLSClientConfig) && a.BearerToken == b.BearerToken &&
		a.Username == b.Username && a.Password == b.Password && reflect.DeepEqual(a.Impersonate, b.Impersonate) &&
		reflect.DeepEqual(a.ExecProvider, b.ExecProvider) && reflect.DeepEqual(a.AuthProvider, b.AuthProvider) && proxyOf(a) == proxyOf(b)
}

// proxyOf returns the URL of the proxy in the kubeconfig, or "".
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

// transport sends requests with the current configuration.
type transport struct {
	f *DynamicConfig
	p protocol
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.f.Get().http[t.p].RoundTrip(r)
}

// CloseIdleConnections closes the idle connections of all clients of the kubeconfig.
func (t *transport) CloseIdleConnections() {
	utilnet.CloseIdleConnectionsFor(t.f.Get().http[t.p])
}
