// Package docs holds the check of the repository's pages; see README.md for
// the pages themselves.
package docs

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = ".."

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*$`)
	code    = regexp.MustCompile("`[^`]*`")
	inLink  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// TestLinks: links between pages lead to files and headings that exist, and
// every page of docs/ can be reached from the README. Addresses elsewhere are
// only parsed, since a build must not need the internet.
func TestLinks(t *testing.T) {
	pages := pages(t)
	if len(pages) < 10 {
		t.Fatalf("found %d pages below %s, want more", len(pages), root)
	}
	reached := map[string]bool{}
	for page, text := range pages {
		for _, target := range links(text) {
			if problem := broken(pages, page, target); problem != "" {
				t.Errorf("%s: link %q: %s", page, target, problem)
			}
			if page == "README.md" {
				reached[resolve(page, target)] = true
			}
		}
	}
	for page := range pages {
		if filepath.Dir(page) == "docs" && !reached[page] {
			t.Errorf("README.md has no link to %s", page)
		}
	}
}

// broken says what is wrong with a link, or nothing.
func broken(pages map[string]string, page, target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme == "https" && u.Host != "", u.Scheme == "mailto":
		return ""
	case u.Scheme != "":
		return "want https"
	}
	file := resolve(page, target)
	if _, isPage := pages[file]; !isPage {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			return "no such file: " + file
		}
	}
	if u.Fragment != "" && !anchors(pages[file])[u.Fragment] {
		return file + " has no such heading"
	}
	return ""
}

// resolve is the file that a relative link of a page names, from the root.
func resolve(page, target string) string {
	file, _, _ := strings.Cut(target, "#")
	if file == "" {
		return page
	}
	return filepath.Join(filepath.Dir(page), file)
}

// links are the targets of a page's links, code left out.
func links(text string) []string {
	var found []string
	for _, line := range prose(text) {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
			found = append(found, m[1])
		}
	}
	return found
}

// anchors are the names that GitHub gives to a page's headings.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, line := range prose(text) {
		if m := heading.FindStringSubmatch(line); m != nil {
			name := inLink.ReplaceAllString(m[1], "$1")
			name = dropped.ReplaceAllString(strings.ToLower(name), "")
			found[strings.ReplaceAll(name, " ", "-")] = true
		}
	}
	return found
}

// prose is a page without its fenced blocks.
func prose(text string) []string {
	var kept []string
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if !fenced {
			kept = append(kept, strings.TrimRight(line, "\n"))
		}
	}
	return kept
}

// pages are the repository's Markdown files by their path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (entry.Name() == "bin" || entry.Name() == ".git"):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		found[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestBrokenLinksAreFound: the check above can fail.
func TestBrokenLinksAreFound(t *testing.T) {
	pages := map[string]string{"docs/a.md": "# Über `x`: a [b](c.md)\n```\n# none\n```\n"}
	for target, ok := range map[string]bool{
		"#über-x-a-b":          true,
		"#none":                false,
		"links_test.go":        true,
		"../README.md":         true,
		"missing.md":           false,
		"http://example.com/":  false,
		"https://example.com/": true,
	} {
		if problem := broken(pages, "docs/a.md", target); (problem == "") != ok {
			t.Errorf("%s: %q, want a problem: %t", target, problem, !ok)
		}
	}
}
