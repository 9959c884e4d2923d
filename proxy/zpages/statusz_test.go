package zpages

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"frontproxy/e2e/harness"
	"frontproxy/internal/certs"
)

// TestExpiredCertificates: each is logged once, when it expires and when it comes into use, and
// shown on /statusz.
func TestExpiredCertificates(t *testing.T) {
	now := time.Unix(1700000000, 0)
	swapped := endsAt(t, now.Add(time.Hour))
	sources := StatusSources{Certificates: []certs.Source{
		{Role: "client", Source: "ended", PEM: func() []byte { return endsAt(t, now.Add(-90*time.Minute)) }},
		{Role: "client", Source: "good", PEM: func() []byte { return endsAt(t, now.Add(90*time.Minute)) }},
		{Role: "serving", Source: "swapped", PEM: func() []byte { return swapped }},
	}}
	var lines []string
	expired := NewExpiredCertificates(&sources, funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	for _, tt := range []struct {
		name string
		now  time.Time
		end  time.Duration // of the certificate that is swapped in
		want string        // the source of the line; empty: there is none
	}{
		{"at the start", now, time.Hour, "ended"},
		{"again", now, time.Hour, ""},
		{"an expired one is swapped in", now, -time.Hour, "swapped"},
		{"it is still there", now, -time.Hour, ""},
		{"another expired one", now, -2 * time.Hour, "swapped"},
		{"a good one", now, time.Hour, ""},
		{"the first one again", now, -time.Hour, "swapped"},
		{"one expires in use", now.Add(100 * time.Minute), -time.Hour, "good"},
	} {
		lines, swapped = nil, endsAt(t, now.Add(tt.end))
		expired.Report(tt.now)
		if tt.want == "" && len(lines) > 0 || tt.want != "" && (len(lines) != 1 || !strings.Contains(lines[0], `"source"="`+tt.want+`"`) || !strings.Contains(lines[0], "replace it")) {
			t.Errorf("%s: the log has %q, want a line about %q", tt.name, lines, tt.want)
		}
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
