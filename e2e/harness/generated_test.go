package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A text takes the place of the one before it, and the rest stays.
func TestWriteGenerated(t *testing.T) {
	const begin, end = "<!-- generated: make x -->\n", "<!-- end of generated -->\n"
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("before\n"+begin+end+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"| old |\n", "| new |\n"} {
		if err := WriteGenerated(page, "make x", text); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if want := "before\n" + begin + "\n| new |\n\n" + end + "after\n"; err != nil || string(got) != want {
		t.Errorf("the page is\n%s\nwant\n%s(%v)", got, want, err)
	}
	if err := WriteGenerated(page, "make y", ""); err == nil || !strings.Contains(err.Error(), page) {
		t.Errorf("a page without a part that the command generates gives %v", err)
	}
}
