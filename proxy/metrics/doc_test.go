package metrics

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	metricsDoc = "../../docs/metrics.md"
	tableBegin = "<!-- generated: make docs -->\n"
	tableEnd   = "<!-- end of generated -->\n"
)

// TestMetricsDoc: the table in docs/metrics.md is that of the code. With
// UPDATE_DOCS=1 it is written.
func TestMetricsDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString("| name | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range New("").Families() {
		labels := ""
		if len(f.Labels) > 0 {
			labels = "`" + strings.Join(f.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, labels, f.Help)
	}
	data, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	table, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table, between %q and %q", metricsDoc, tableBegin, tableEnd)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(metricsDoc, []byte(before+tableBegin+b.String()+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(b.String(), table); diff != "" {
		t.Errorf("%s is out of date; run: make docs\n(-want +got):\n%s", metricsDoc, diff)
	}
}
