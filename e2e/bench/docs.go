package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// The generated part of a page lies between these two.
const (
	docsBegin = "<!-- generated: make bench DOCS=1 -->\n"
	docsEnd   = "<!-- end of generated -->\n"
)

// writeDocs puts the table of a run into the page's generated part.
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
	of := fmt.Sprintf("Measured on %s, %s/%s, %d CPUs, %s.\n\n", when.UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	return os.WriteFile(page, []byte(before+docsBegin+"\n"+of+table+"\n"+docsEnd+after), 0o644) //nolint:gosec // for everybody
}
