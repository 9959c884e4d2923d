package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCompatibilityNamesTests: docs/compatibility.md names a test for every
// line of its tables, and every test that it names exists.
func TestCompatibilityNamesTests(t *testing.T) {
	const root = "../.."
	doc, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9/-]+)\\.(Test[A-Za-z0-9]+)`")
	declared := map[string]string{} // test files' text, by directory
	rows := 0
	for n, line := range strings.Split(string(doc), "\n") {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasSuffix(line, "| tests |") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		tests := named.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(tests) == 0 {
			t.Errorf("line %d names no test: %s", n+1, line)
		}
		for _, test := range tests {
			if declared[test[1]] == "" {
				declared[test[1]] = testSource(t, filepath.Join(root, test[1]))
			}
			if !strings.Contains(declared[test[1]], "\nfunc "+test[2]+"(t *testing.T) {") {
				t.Errorf("line %d names %s in %s, and there is none", n+1, test[2], test[1])
			}
		}
	}
	if rows < 40 {
		t.Errorf("the tables have %d lines; they are not read as they are written", rows)
	}
}

func testSource(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // the repository's
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
