package issuertest

import (
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Serve starts an issuer that ends with the test. An empty opts.Algorithm is ES256, the
// quickest to make keys for.
func Serve(t testing.TB, opts Options) *Issuer {
	t.Helper()
	if opts.Algorithm == "" {
		opts.Algorithm = jose.ES256
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
