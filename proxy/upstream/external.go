package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"frontproxy/internal/egress"
)

// DialFunc dials as http.Transport has it done.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// NewExternal makes one that dials with dial, which must refuse what a tenant must not
// reach, and verifies hosts by the CAs of verify; nil: by the system's. It shows no
// client certificate. A nil dial makes none: nil.
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

// newExternalTransport has egress' limits on what a host may cost. Tenants choose how
// many hosts there are, so those connections that are idle are few and bounded over
// all of them.
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
	egress.LimitTransport(t)
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(http2)
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
