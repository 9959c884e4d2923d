package upstream

import (
	"crypto/x509"
	"net"
	"net/http"
	"testing"

	"k8s.io/klog/v2"

	"frontproxy/internal/egress"
)

// TestExternalTransportsHaveTimeouts: the times of every transport that leads to
// what a tenant chose are limited, and so is what TLS keeps.
func TestExternalTransportsHaveTimeouts(t *testing.T) {
	foreign := NewExternal((&net.Dialer{}).DialContext, nil)
	listed := New("host", Files{CA: "ca"}, &Credentials{Roots: x509.NewCertPool()}, true, nil, klog.Logger{}).current.Load()
	for name, transport := range map[string]*http.Transport{
		"requests": foreign.requests, "upgrades": foreign.upgrades, "listed, shared": listed.shared, "listed, alone": listed.dedicated, "listed, watching": listed.watches,
	} {
		want := &http.Transport{}
		egress.LimitTransport(want)
		if transport.MaxResponseHeaderBytes != want.MaxResponseHeaderBytes || transport.ResponseHeaderTimeout != want.ResponseHeaderTimeout ||
			transport.TLSHandshakeTimeout != want.TLSHandshakeTimeout || transport.IdleConnTimeout != want.IdleConnTimeout ||
			transport.HTTP2.WriteByteTimeout != want.HTTP2.WriteByteTimeout || transport.HTTP2.MaxReceiveBufferPerStream != want.HTTP2.MaxReceiveBufferPerStream {
			t.Errorf("%s: %+v", name, transport)
		}
		if http2 := transport.TLSNextProto["h2"] != nil; transport.DialTLSContext == nil || http2 != transport.Protocols.HTTP2() {
			t.Errorf("%s: the records of TLS are not limited, or there is HTTP/2: %v", name, http2)
		}
	}
}
