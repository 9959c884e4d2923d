package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"sync/atomic"
	"time"

	"frontproxy/e2e/harness"
)

// user is somebody who asks, with a credential of one kind.
type user struct {
	name string
	// token returns the bearer token, anew for each request; nil: there is none.
	token func(*place) string
	// known is a part of what a SelfSubjectReview answers.
	known string
	// away: the proxy is not to know the user now, or soon will not. What it has
	// open then ends.
	away atomic.Bool

	certificates []tls.Certificate
	http1, http2 *http.Client // keep connections
	fresh        *http.Client // makes a connection for each request
}

// connect makes the user's clients. A nil pair means no certificate.
func (u *user) connect(servingCA []byte, pair *harness.KeyPair) error {
	if pair != nil {
		certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			return err
		}
		u.certificates = []tls.Certificate{certificate}
	}
	client := func(http2 bool) *http.Client {
		transport := &http.Transport{TLSClientConfig: u.tls(servingCA), ForceAttemptHTTP2: http2, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second}
		if !http2 {
			transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
		}
		return &http.Client{Transport: transport}
	}
	u.http1, u.http2, u.fresh = client(false), client(true), client(false)
	u.fresh.Transport.(*http.Transport).DisableKeepAlives = true
	return nil
}

func (u *user) tls(servingCA []byte) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(servingCA)
	return &tls.Config{RootCAs: pool, Certificates: u.certificates, MinVersion: tls.VersionTLS12}
}

// header is what the user sends with each request.
func (u *user) header(at *place) http.Header {
	h := http.Header{}
	if u.token != nil {
		h.Set("Authorization", "Bearer "+u.token(at))
	}
	return h
}

func (u *user) disconnect() {
	u.http1.CloseIdleConnections()
	u.http2.CloseIdleConnections()
	u.fresh.CloseIdleConnections()
}

// place is a workspace that is asked.
type place struct {
	harness.Workspace
	url string // at the proxy
	// trouble says which of its shard's troubles is on.
	trouble *trouble
}

func (p *place) configMaps() string { return p.url + "/api/v1/namespaces/default/configmaps" }

// trouble is what is wrong with a shard now.
type trouble struct {
	refuses, endsStreams atomic.Bool
	changes              atomic.Int64 // of the two
}

func (t *trouble) set(refuses, endsStreams bool) {
	t.refuses.Store(refuses)
	t.endsStreams.Store(endsStreams)
	t.changes.Add(1)
}
