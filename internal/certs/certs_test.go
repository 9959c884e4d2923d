package certs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/klog/v2"
	testingclock "k8s.io/utils/clock/testing"

	"frontproxy/e2e/harness"
	"frontproxy/internal/filewatch"
)

var (
	_ dynamiccertificates.SNICertKeyContentProvider = (*Pair)(nil)
	_ dynamiccertificates.CAContentProvider         = (*Bundle)(nil)
)

// told counts what a listener is told.
type told int

func (t *told) Enqueue() { *t++ }

func authority(t *testing.T) *harness.CA {
	t.Helper()
	ca, err := harness.NewCA(t.TempDir(), "ca")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func serving(t *testing.T, ca *harness.CA) harness.KeyPair {
	t.Helper()
	pair, err := ca.Serving(t.TempDir(), "server")
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// settle checks a file until what was written in place has stayed for long enough.
func settle[T any](t *testing.T, f *filewatch.File[T], clk *testingclock.FakeClock) {
	t.Helper()
	for range 2 {
		f.Check(t.Context())
		clk.Step(filewatch.Settle)
	}
	f.Check(t.Context())
}

// TestPairChangesAsAWhole: a certificate and its key change together or not at all, and
// listeners are told of each change once.
func TestPairChangesAsAWhole(t *testing.T) {
	ca, clk, dir := authority(t), testingclock.NewFakeClock(time.Now()), t.TempDir()
	first, second := serving(t, ca), serving(t, ca)
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write(t, cert, first.Cert)
	write(t, key, first.Key)
	p, err := NewPair("tls-cert-file", cert, key, []string{"a.example"}, clk, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	var changes told
	p.AddListener(&changes)
	shows := func(when string, want harness.KeyPair, times told) {
		t.Helper()
		if c, k := p.CurrentCertKeyContent(); !bytes.Equal(c, want.Cert) || !bytes.Equal(k, want.Key) {
			t.Errorf("%s: another pair is in use", when)
		}
		if changes != times {
			t.Errorf("%s: listeners were told %d times, want %d", when, changes, times)
		}
	}
	shows("at the start", first, 0)
	if p.Name() != "tls-cert-file" || len(p.SNINames()) != 1 || p.SNINames()[0] != "a.example" {
		t.Errorf("it is called %q, for %q", p.Name(), p.SNINames())
	}

	write(t, cert, second.Cert)
	settle(t, p.File, clk)
	shows("with another's key", first, 0)
	if err := p.LastError(); err == nil || !strings.Contains(err.Error(), "--tls-cert-file "+`"`+cert) || !strings.Contains(err.Error(), key) {
		t.Errorf("with another's key: LastError is %v", err)
	}
	write(t, key, second.Key)
	settle(t, p.File, clk)
	shows("with its key", second, 1)
	if err := p.LastError(); err != nil {
		t.Errorf("with its key: LastError is %v", err)
	}
	settle(t, p.File, clk)
	shows("unchanged", second, 1)

	write(t, key, nil)
	settle(t, p.File, clk)
	shows("with an emptied key", second, 1)
	if err := p.LastError(); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("with an emptied key: LastError is %v", err)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	settle(t, p.File, clk)
	shows("without a certificate", second, 1)
}

// TestBundle: a bundle is used whole, one that is emptied or rubbish never is.
func TestBundle(t *testing.T) {
	first, second, clk := authority(t), authority(t), testingclock.NewFakeClock(time.Now())
	file := filepath.Join(t.TempDir(), "ca.crt")
	write(t, file, first.PEM)
	b, err := NewBundle("client-ca-file", file, clk, klog.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	var changes told
	b.AddListener(&changes)
	shows := func(when string, want []byte, times told) {
		t.Helper()
		if got := b.CurrentCABundleContent(); !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(want)) {
			t.Errorf("%s: in use is\n%s", when, got)
		}
		if changes != times {
			t.Errorf("%s: listeners were told %d times, want %d", when, changes, times)
		}
	}
	shows("at the start", first.PEM, 0)
	before, ok := b.VerifyOptions()
	if !ok || b.Name() != "client-ca-file" {
		t.Errorf("it is called %q, and verifies: %t", b.Name(), ok)
	}
	for _, text := range []string{"", " \n", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		write(t, file, []byte(text))
		settle(t, b.File, clk)
		shows("with "+text, first.PEM, 0)
		if err := b.LastError(); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("with %q: LastError is %v", text, err)
		}
	}
	both := append(bytes.Clone(first.PEM), second.PEM...)
	write(t, file, both)
	settle(t, b.File, clk)
	shows("with both", both, 1)
	if after, ok := b.VerifyOptions(); !ok || after.Roots == before.Roots {
		t.Error("with both, certificates are verified as before")
	}
	write(t, file, first.PEM)
	settle(t, b.File, clk)
	shows("with the first again", first.PEM, 2)
}

// TestFirstReading: what cannot be used at the start is an error that names flag
// and file.
func TestFirstReading(t *testing.T) {
	ca, dir := authority(t), t.TempDir()
	one, other := serving(t, ca), serving(t, ca)
	empty, gone := filepath.Join(dir, "empty"), filepath.Join(dir, "gone")
	write(t, empty, nil)
	for _, files := range [][2]string{{gone, one.KeyFile}, {one.CertFile, gone}, {empty, one.KeyFile}, {one.CertFile, empty}, {one.CertFile, other.KeyFile}, {one.KeyFile, one.CertFile}} {
		_, err := NewPair("some-flag", files[0], files[1], nil, nil, klog.Logger{})
		if err == nil || !strings.Contains(err.Error(), "--some-flag") || !strings.Contains(err.Error(), dir) && !strings.Contains(err.Error(), files[0]) {
			t.Errorf("%q: %v", files, err)
		}
	}
	for _, file := range []string{gone, empty, one.KeyFile} {
		if _, err := NewBundle("some-flag", file, nil, klog.Logger{}); err == nil || !strings.Contains(err.Error(), "--some-flag") || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v", file, err)
		}
	}
}
