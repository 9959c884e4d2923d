package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A table takes the place of the one before it, and the rest stays.
func TestWriteDocs(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("before\n"+docsBegin+docsEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"| old |\n", "| new |\n"} {
		if err := writeDocs(page, table, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(got)
	if !strings.HasPrefix(text, "before\n"+docsBegin) || !strings.HasSuffix(text, "| new |\n\n"+docsEnd+"after\n") ||
		strings.Contains(text, "old") || !strings.Contains(text, "1970-01-01, "+runtime.GOOS) {
		t.Errorf("the page is\n%s", text)
	}
}

func TestWriteDocsWithoutAPlace(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte(docsBegin), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeDocs(page, "table", time.Now()); err == nil || !strings.Contains(err.Error(), page) {
		t.Errorf("a page without an end of its generated part gives %v", err)
	}
}
