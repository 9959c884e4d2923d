package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"frontproxy/internal/egress"
)

// DialFunc is an http.Transport's DialContext.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// NewExternal returns an External that dials with dial, which must refuse what a tenant must not
// reach. It verifies hosts with the CAs of verify, or the system's if verify is nil, and sends
// no client certificate. If dial is nil, it returns nil.
func NewExternal(dial DialFunc, verify *tls.Config) *External {
	if dial == nil {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if verify != nil {
		config.RootCAs = verify.RootCAs
	}
	return &External{requests: newExternalTransport(dial, config, true), upgrades: newExternalTransport(dial, config.Clone(), false)}
}

// maxExternalConns is how many connections there are to a host, and idle ones to
// all of them.
const maxExternalConns = 256

// newExternalTransport returns a transport with the limits of package egress on what a host
// may cost. Tenants choose how many hosts there are, so there are few idle connections, with
// one bound for all hosts.
func newExternalTransport(dial DialFunc, config *tls.Config, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     config,
		MaxIdleConns:        maxExternalConns,
		MaxIdleConnsPerHost: 8,
		MaxConnsPerHost:     maxExternalConns,
		DisableCompression:  true,
		Protocols:           new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(http2)
	egress.LimitTransport(t)
	return t
}

// External carries requests to hosts that tenants choose.
type External struct{ requests, upgrades *http.Transport }

// RoundTrip implements http.RoundTripper.
func (f *External) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, upgrade := r.Header["Upgrade"]; upgrade {
		return f.upgrades.RoundTrip(r)
	}
	return f.requests.RoundTrip(r)
}

// Close closes the connections that no request uses.
func (f *External) Close() {
	f.requests.CloseIdleConnections()
	f.upgrades.CloseIdleConnections()
}
