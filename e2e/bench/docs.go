package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"frontproxy/e2e/harness"
)

// writeDocs puts the tables of a run into the page's two generated parts, each
// with its date: what attacks cost neighbours, and all else. A part of which
// nothing was measured stays as it is.
func writeDocs(page string, r *results, when time.Time) error {
	of := fmt.Sprintf("Measured on %s, %s/%s, %d CPUs, %s, load average %s.\n\n",
		when.UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), harness.MachineLoad())
	var errs []error
	for command, attacked := range map[string]bool{"make bench DOCS=1": false, "make bench BENCH='-only neighbour' DOCS=1": true} {
		if part := r.part(attacked); len(part.samples) > 0 {
			errs = append(errs, harness.WriteGenerated(page, command, of+part.table()))
		}
	}
	return errors.Join(errs...)
}

// part has what attacks cost, or all else.
func (r *results) part(attacked bool) *results {
	of := &results{}
	for _, s := range r.samples {
		is := false
		for _, a := range attacks {
			is = is || a.name == s.Measure
		}
		if is == attacked {
			of.add(s)
		}
	}
	return of
}
