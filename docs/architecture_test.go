package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// mostFiles is how many files an ordinary request leads a reader through, at most.
const mostFiles = 12

// TestRequestsWay: the files and functions that architecture.md lists for an ordinary request
// exist, and they are few.
func TestRequestsWay(t *testing.T) {
	page, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n### A request\n")
	section, _, _ = strings.Cut(section, "\n## ")
	steps := regexp.MustCompile(`(?m)^ +([0-9]+)  ([a-z0-9/]+\.go) +(\w+): `).FindAllStringSubmatch(section, -1)
	if !found || len(steps) < 5 || len(steps) > mostFiles {
		t.Fatalf("found %d files on a request's way, want 5 to %d", len(steps), mostFiles)
	}
	listed := map[string]bool{}
	for i, step := range steps {
		number, file, function := step[1], step[2], step[3]
		if number != strconv.Itoa(i+1) || listed[file] {
			t.Errorf("%s is number %s, want %d, and each file once", file, number, i+1)
		}
		listed[file] = true
		declares(t, file, function)
	}
}

// TestPlaces: what architecture.md says is in a file, as `name` (file) or `name` in `file`,
// is declared there.
func TestPlaces(t *testing.T) {
	page, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	places := regexp.MustCompile("`(?:\\w+\\.)?(\\w+)` (?:in `|\\()([a-z0-9/]+\\.go)[`)]").FindAllStringSubmatch(string(page), -1)
	if len(places) < 20 {
		t.Errorf("found only %d places", len(places))
	}
	for _, place := range places {
		declares(t, place[2], place[1])
	}
}

// declares checks that a file declares a function, a method, a type or a value at the top level.
func declares(t *testing.T, file, name string) {
	t.Helper()
	code, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Error(err)
	} else if !regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type |const |var )` + name + `\b|^\t` + name + ` +=`).Match(code) {
		t.Errorf("%s does not declare %s", file, name)
	}
}
