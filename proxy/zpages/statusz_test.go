package zpages

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"frontproxy/e2e/harness"
	"frontproxy/internal/certs"
)

// TestExpiredCertificates: one that has ended is told at the start and on
// /statusz, and does not keep the proxy from starting.
func TestExpiredCertificates(t *testing.T) {
	now := time.Unix(1700000000, 0)
	sources := StatusSources{Certificates: []certs.Source{
		{Role: "client", Source: "ended", PEM: func() []byte { return endsAt(t, now.Add(-90*time.Minute)) }},
		{Role: "client", Source: "good", PEM: func() []byte { return endsAt(t, now.Add(90*time.Minute)) }},
	}}
	var lines []string
	sources.ReportExpired(now, funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	if len(lines) != 1 || !strings.Contains(lines[0], `"source"="ended"`) || !strings.Contains(lines[0], "replace it") {
		t.Errorf("the log has %q, want one line about the expired one", lines)
	}
	var page Statusz
	page.Status.addCertificates(&sources)
	text := page.text(now)
	for _, want := range []string{"  expired 1h30m0s ago\n", "  1h30m0s\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("statusz lacks %q:\n%s", want, text)
		}
	}
}

// endsAt is a certificate in PEM that ends then.
func endsAt(t *testing.T, end time.Time) []byte {
	t.Helper()
	ca, err := harness.NewCA(t.TempDir(), "ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.ClientUntil(t.TempDir(), "somebody", end)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Cert
}
