package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCompatibilityNamesTests: docs/compatibility.md names a test for every
// line of its tables, and every test that it names exists; those in the last two
// columns are run before the kcp of that column.
func TestCompatibilityNamesTests(t *testing.T) {
	const root = "../.."
	doc, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	runOn031 := map[string][]string{} // without "Test", by directory
	for dir, name := range map[string]string{"e2e": "ON031", "e2e/across": "ACROSS031"} {
		line := regexp.MustCompile(`(?m)^` + name + ` +:= (\S+)$`).FindSubmatch(makefile)
		if line == nil {
			t.Fatalf("the Makefile has no line %s, the tests of %s that kcp 0.31 is for", name, dir)
		}
		runOn031[dir] = strings.Split(string(line[1]), "|")
	}
	named := regexp.MustCompile("`([a-z0-9/-]+)\\.(Test[A-Za-z0-9]+)`")
	declared := map[string]string{} // test files' text, by directory
	rows, tables := 0, false
	for n, line := range strings.Split(string(doc), "\n") {
		if strings.HasSuffix(line, "| tests | kcp v0.31.2 | kcp v0.32.3 |") {
			tables = true
			continue
		}
		if !strings.HasPrefix(line, "|") {
			tables = false
		}
		if !tables || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		all := 0
		for column, cell := range cells[len(cells)-3:] {
			for _, test := range named.FindAllStringSubmatch(cell, -1) {
				all++
				if declared[test[1]] == "" {
					declared[test[1]] = testSource(t, filepath.Join(root, test[1]))
				}
				if !strings.Contains(declared[test[1]], "\nfunc "+test[2]+"(t *testing.T) {") {
					t.Errorf("line %d names %s in %s, and there is none", n+1, test[2], test[1])
				}
				if real := strings.HasPrefix(test[1], "e2e"); real != (column > 0) {
					t.Errorf("line %d names %s.%s in the wrong column: tests before a real kcp are in the last two", n+1, test[1], test[2])
				}
				if column == 1 && !slices.Contains(runOn031[test[1]], strings.TrimPrefix(test[2], "Test")) {
					t.Errorf("line %d: the Makefile does not run %s.%s before kcp 0.31 (ON031, ACROSS031)", n+1, test[1], test[2])
				}
			}
		}
		if all == 0 {
			t.Errorf("line %d names no test: %s", n+1, line)
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
