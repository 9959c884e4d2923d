package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

// floorTask is the floor's command line.
type floorTask struct {
	Address, Backend, CA string
	Serving, Client      pair
	HTTP2                bool // to the backend
	Pooled               bool // the buffers for copying bodies
}

// runFloor is the least that a reverse proxy in Go costs: TLS on both sides, the
// standard library as it comes, nobody authenticated, nothing looked up.
func runFloor(ctx context.Context, t floorTask) error {
	backend, err := url.Parse(t.Backend)
	if err != nil {
		return err
	}
	pool, err := roots(t.CA)
	if err != nil {
		return err
	}
	client, err := tls.LoadX509KeyPair(t.Client.Cert, t.Client.Key)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{client}, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 256, // with the default of 2 it would measure handshakes
		ForceAttemptHTTP2:   t.HTTP2,
		DisableCompression:  true,
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(pr *httputil.ProxyRequest) { pr.SetURL(backend) }}
	if t.Pooled {
		proxy.BufferPool = &buffers{}
	}
	server := &http.Server{
		Addr:              t.Address,
		Handler:           proxy,
		ReadHeaderTimeout: 30 * time.Second,
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServeTLS(t.Serving.Cert, t.Serving.Key); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the floor: %w", err)
	}
	return nil
}

// buffers are as large as those that ReverseProxy makes without a pool.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }

func roots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file) //nolint:gosec // a file of the benchmark's own
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return pool, nil
}

// tlsFor is a client's.
func tlsFor(pool *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}
