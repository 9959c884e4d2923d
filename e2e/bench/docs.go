package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	"frontproxy/e2e/harness"
)

// writeDocs puts the tables of a run into the page's two generated parts, each
// with its date: what attacks cost neighbours, and all else. A part of which
// nothing was measured stays as it is.
func writeDocs(page string, r *results, when time.Time) error {
	of := fmt.Sprintf("Measured on %s, %s/%s, %d CPUs, %s, load average %s; a system call that does nothing takes %.2f µs.\n\n",
		when.UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), harness.MachineLoad(), systemCall().Seconds()*1e6)
	var errs []error
	for command, attacked := range map[string]bool{"make bench DOCS=1": false, "make bench BENCH='-only neighbour' DOCS=1": true} {
		if part := r.part(attacked); len(part.samples) > 0 {
			errs = append(errs, harness.WriteGenerated(page, command, of+part.table()))
		}
	}
	return errors.Join(errs...)
}

// systemCall is what the shortest system call takes, at the quietest of some moments. Machines
// differ in it more than in anything else, and half of what a request costs is system calls.
func systemCall() time.Duration {
	const calls = 10_000
	best := time.Duration(math.MaxInt64)
	for range 20 {
		begin := time.Now()
		for range calls {
			_ = os.Getppid()
		}
		best = min(best, time.Since(begin)/calls)
	}
	return best
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
