package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// The generated part of a page lies between these two.
const (
	docsBegin = "<!-- generated: make conformance DOCS=1 -->\n"
	docsEnd   = "<!-- end of generated -->\n"
)

// table shows results in Markdown: a line for each suite, and the failures.
func table(all []result) string {
	var b, failures strings.Builder
	b.WriteString("| kcp | suite | passed | skipped | failed |\n|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %s | %d of %d | %d | %d |\n", r.version, r.suite, r.passed, r.passed+len(r.failed), r.skipped, len(r.failed))
		for _, test := range r.failed {
			fmt.Fprintf(&failures, "- kcp %s, %s: `%s`\n", r.version, r.suite, test)
		}
	}
	if failures.Len() > 0 {
		b.WriteString("\nFailed:\n\n" + failures.String())
	}
	return b.String()
}

// writeDocs puts a table into the page's generated part.
func writeDocs(page, table string, when time.Time) error {
	text, err := os.ReadFile(page) //nolint:gosec // the caller names it
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), docsBegin)
	_, after, ends := strings.Cut(rest, docsEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no generated part: the lines %q and %q", page, docsBegin, docsEnd)
	}
	return os.WriteFile(page, []byte(before+docsBegin+"\nAs of "+when.UTC().Format(time.DateOnly)+":\n\n"+table+"\n"+docsEnd+after), 0o644) //nolint:gosec // for everybody
}
