package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"testing"
	"time"

	"frontproxy/e2e/harness"
)

// oneConnection asks over one TLS connection and fails when another is made.
type oneConnection struct {
	t      *testing.T
	client *http.Client
	path   string
	header http.Header
	asked  bool
}

// ask returns the answer's code.
func (c *oneConnection) ask() int {
	c.t.Helper()
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if c.asked && !info.Reused {
			c.t.Error("another connection was made: this tests nothing")
		}
	}}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodGet, c.path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header = c.header.Clone()
	resp, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.asked = true
	_ = resp.Body.Close()
	return resp.StatusCode
}

func (c *oneConnection) await(what string, code int) {
	c.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for got := 0; got != code; {
		if got = c.ask(); got != code && time.Now().After(deadline) {
			c.t.Fatalf("%s: answered %d, want %d", what, got, code)
		}
	}
}

// TestRevokedCertificatesOnOpenConnections: a certificate is judged at every request,
// so a connection that was made with it is worth nothing more when its CA is
// taken out of the file, or when it ends; and all again when the CA is back.
func TestRevokedCertificatesOnOpenConnections(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	next, err := harness.NewCA(t.TempDir(), "next-ca")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, ca *harness.CA) string {
		t.Helper()
		path, partial := filepath.Join(dir, name), filepath.Join(dir, "."+name)
		if err := os.WriteFile(partial, ca.PEM, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(partial, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--client-ca-file="+write("clients.crt", k.ClientCA),
		"--requestheader-client-ca-file="+write("proxies.crt", k.RequestHeaderCA), "--requestheader-allowed-names=mounts",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"))
	over := func(cert tls.Certificate, header http.Header) *oneConnection {
		return &oneConnection{t: t, client: p.client(cert), path: url + "/clusters/root/api", header: header}
	}
	mounts, err := k.RequestHeaderCA.Client(t.TempDir(), "mounts")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(mounts.Cert, mounts.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, file string
		ca         *harness.CA
		conn       *oneConnection
	}{
		{"client certificate", "clients.crt", k.ClientCA, over(certificate(t, k, "dora"), nil)},
		{"requestheader certificate", "proxies.crt", k.RequestHeaderCA, over(pair, http.Header{"X-Remote-User": {"carol"}})},
	} {
		tt.conn.await(tt.name, http.StatusOK)
		write(tt.file, next)
		tt.conn.await(tt.name+" when its CA is no longer trusted", http.StatusUnauthorized)
		write(tt.file, tt.ca)
		tt.conn.await(tt.name+" when its CA is trusted again", http.StatusOK)
	}

	ends := time.Now().Add(4 * time.Second)
	ending, err := k.ClientCA.ClientUntil(t.TempDir(), "dora", ends)
	if err != nil {
		t.Fatal(err)
	}
	if pair, err = tls.X509KeyPair(ending.Cert, ending.Key); err != nil {
		t.Fatal(err)
	}
	conn := over(pair, nil)
	if code := conn.ask(); code != http.StatusOK && time.Now().Before(ends.Add(-time.Second)) {
		t.Errorf("before its end the certificate is answered %d", code)
	}
	conn.await("a certificate past its end", http.StatusUnauthorized)
	if time.Now().Before(ends.Add(-time.Second)) { // X.509 counts in seconds
		t.Error("the certificate was refused before its end")
	}
}
