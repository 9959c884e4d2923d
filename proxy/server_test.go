package proxy

import (
	"context"
	"crypto/tls"
	"net/http"
	"testing"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"frontproxy/authn"
	"frontproxy/internal/certstest"
)

// TestClientCertificates: the listener asks for certificates of the advertised
// CAs and lets any pass: who it stands for is Decide's to say.
func TestClientCertificates(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", false, nil)
	stranger := certstest.New(t, "stranger")
	cas, err := dynamiccertificates.NewStaticCAContent("clients", w.clients.PEM)
	if err != nil {
		t.Fatal(err)
	}
	w.config.Server.Serving = &genericapiserver.SecureServingInfo{ClientCA: cas}
	var name string
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		name = ""
		if len(r.Certificates) > 0 {
			name = r.Certificates[0].Subject.CommonName
		}
		return &authn.Decision{Status: 401}
	}
	f := w.front(t)
	for want, certs := range map[string][]tls.Certificate{"": nil, "known": {w.clients.Pair(t, "known")}, "unknown": {stranger.Pair(t, "unknown")}} {
		c := f.client(t, true)
		var advertised [][]byte
		c.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			advertised = info.AcceptableCAs
			if len(certs) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certs[0], nil
		}
		if res, _ := do(t, c, "GET", f.URL+"/clusters/root:ws/api", nil); res.StatusCode != 401 || name != want {
			t.Errorf("certificate %q: answer %d, decided for %q", want, res.StatusCode, name)
		}
		if len(advertised) != 1 || string(advertised[0]) != string(w.clients.Cert.RawSubject) {
			t.Errorf("%d CAs are advertised", len(advertised))
		}
	}
}

func TestServingOptions(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", false, nil)
	w.config.Server.Serving = &genericapiserver.SecureServingInfo{DisableHTTP2: true, MinTLSVersion: tls.VersionTLS10, CurvePreferences: []tls.CurveID{tls.CurveP384}}
	f := w.front(t)
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("negotiated %q with HTTP/2 off", p)
	}
	_ = conn.Close()
	if conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil { //nolint:gosec // that it is refused is the test
		_ = conn.Close()
		t.Error("TLS 1.1 is served")
	}
	for curve, served := range map[tls.CurveID]bool{tls.CurveP384: true, tls.X25519: false} {
		conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, CurvePreferences: []tls.CurveID{curve}})
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != served {
			t.Errorf("%v: %v, want it served: %t", curve, err, served)
		}
	}
}
