package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What attacks cost is written beside the rest: either can be measured alone.
func TestWriteDocs(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("<!-- generated: make bench DOCS=1 -->\nold\n<!-- end of generated -->\n"+
		"<!-- generated: make bench BENCH='-only neighbour' DOCS=1 -->\n<!-- end of generated -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &results{}
	r.add(sample{Measure: attacks[0].name, Metric: "x", Target: ours, Value: 7})
	if err := writeDocs(page, r, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "\nold\n") || !strings.Contains(string(text), "1970-01-01") || !strings.Contains(string(text), attacks[0].name+": x") {
		t.Errorf("the page is\n%s(%v)", text, err)
	}
	r.add(sample{Measure: "token", Metric: "y", Target: ours, Value: 7})
	if err := writeDocs(page, r, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(page); err != nil || strings.Contains(string(text), "\nold\n") || strings.Count(string(text), "token: y") != 1 {
		t.Errorf("the page is\n%s(%v)", text, err)
	}
}
