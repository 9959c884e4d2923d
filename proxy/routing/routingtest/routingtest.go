// Package routingtest has the certificates and mapping files of tests.
package routingtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	testingclock "k8s.io/utils/clock/testing"

	"frontproxy/internal/certstest"
	"frontproxy/internal/filewatch"
)

// ShardsMapping is the entry for /clusters/.
const ShardsMapping = `
- path: /clusters/
  backend: https://unused.invalid
  backend_server_ca: DIR/ca.crt
  proxy_client_cert: DIR/client.crt
  proxy_client_key: DIR/client.key
  uid_header: X-Remote-Uid
`

// TLSEntry ends an entry.
const TLSEntry = `
  backend_server_ca: DIR/ca.crt
  proxy_client_cert: DIR/client.crt
  proxy_client_key: DIR/client.key
`

// Files are TLS files as mapping files name them, in a directory of their own.
type Files struct {
	Dir              string
	Serving, Clients *certstest.CA // sign servers' certificates, and the proxy's client certificate
}

// NewFiles writes ca.crt, client.crt and client.key.
func NewFiles(t testing.TB) *Files {
	t.Helper()
	f := &Files{Dir: t.TempDir(), Serving: certstest.New(t, "serving"), Clients: certstest.New(t, "requestheader")}
	f.Write(t, "ca.crt", f.Serving.PEM)
	cert, key := f.Clients.Issue(t, "front-proxy")
	f.Write(t, "client.crt", cert)
	f.Write(t, "client.key", key)
	return f
}

// Write writes a file, and returns its path.
func (f *Files) Write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(f.Dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// In is a mapping file's text with the names of these files.
func (f *Files) In(text string) string { return strings.ReplaceAll(text, "DIR", f.Dir) }

// Settle lets what stands in f's files now settle.
func Settle[T any](t testing.TB, f *filewatch.File[T], clk *testingclock.FakeClock) {
	t.Helper()
	f.Check(t.Context())
	clk.Step(filewatch.Settle)
	f.Check(t.Context())
}
