package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreatModelNamesTests: every guarantee of docs/threat-model.md names tests,
// and they exist.
func TestThreatModelNamesTests(t *testing.T) {
	const root = "../.."
	doc, err := os.ReadFile(filepath.Join(root, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(\w+ \*testing\.`)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declaration.FindAllStringSubmatch(string(text), -1) {
			exists[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	_, guarantees, _ := strings.Cut(string(doc), "\n## What is guaranteed\n")
	for line := range strings.Lines(guarantees) {
		if !strings.HasPrefix(line, "| ") || strings.HasSuffix(strings.TrimSpace(line), "| test |") || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		named := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(line, -1)
		if len(named) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, name := range named {
			if name != "TestMain" && !exists[name] {
				t.Errorf("%s does not exist: %s", name, line)
			}
		}
	}
	if rows < 25 {
		t.Errorf("%d guarantees were read, want all", rows)
	}
}
