package main

import (
	"fmt"
	"runtime"
	"time"

	"frontproxy/e2e/harness"
)

// writeDocs puts the table of a run into the page's generated part.
func writeDocs(page, table string, when time.Time) error {
	of := fmt.Sprintf("Measured on %s, %s/%s, %d CPUs, %s.\n\n", when.UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	return harness.WriteGenerated(page, "make bench DOCS=1", of+table)
}
