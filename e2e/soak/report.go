package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"frontproxy/e2e/harness"
)

// report is what came of a run.
type report struct {
	plan      *plan
	kcp       string
	when      time.Time
	load      string // of the machine, at the start
	took      time.Duration
	warmAfter time.Duration // 0: the time was over before
	warm, end reading
	readings  []reading // under load, after each fault; those of the warm-up are dropped
	rows      []*row
	total     count
	kinds     []string
	opened    int // watches
	ended     int
	failures  []string
}

// row is what happened while a fault was made, and until the next.
type row struct {
	fault                 string
	times                 int
	requests, lost        int
	refused               map[string]int // at the shard in trouble, by class
	ended, endedOtherwise int            // watches
	slowest               time.Duration  // elsewhere
}

func newReport(p *plan, kcp string) *report {
	return &report{plan: p, kcp: kcp, when: time.Now(), load: harness.MachineLoad()}
}

// row is a fault's.
func (r *report) row(fault string) *row {
	for _, row := range r.rows {
		if row.fault == fault {
			return row
		}
	}
	made := &row{fault: fault, refused: map[string]int{}}
	r.rows = append(r.rows, made)
	return made
}

// table shows it in Markdown.
func (r *report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "On %s: %s with kcp %s, %d requests a second and %d watches, %s/%s, %d CPUs, load average %s at the start and %s at the end.\n\n",
		r.when.UTC().Format(time.DateOnly), r.took.Round(time.Minute), r.kcp, r.plan.rate, 10*r.plan.streams, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), r.load, harness.MachineLoad())
	b.WriteString("| what was done | times | requests meanwhile | lost | refused at the shard in trouble | watches ended by it | ended otherwise | slowest elsewhere |\n|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s | %d | %s | %d | %s | %d | %d | %s |\n", row.fault, row.times, thousands(row.requests), row.lost, row.refusals(), row.ended, row.endedOtherwise, row.slowest.Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "\n%s requests, %d lost: %s. Watches were opened %s times; %s ended as the fault or their user's removal had them end.\n",
		thousands(r.total.asked), r.total.lost, strings.Join(r.kinds, ", "), thousands(r.opened), thousands(r.ended))
	if r.warm.started == 0 {
		b.WriteString("\nThe time was over before every fault had been made once.\n")
		return b.String()
	}
	mib := func(v float64) string { return fmt.Sprintf("%.1f MiB", v/(1<<20)) }
	n := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	third := max(1, len(r.readings)/3)
	first, last := r.readings[:third], r.readings[len(r.readings)-third:]
	fmt.Fprintf(&b, "\n| | idle after %s | idle at the end | under load, first third | last third |\n|---|--:|--:|--:|--:|\n", r.warmAfter.Round(time.Minute))
	for _, m := range []struct {
		what string
		of   func(reading) float64
		show func(float64) string
	}{
		{"live heap", func(r reading) float64 { return r.heap }, mib},
		{"resident", func(r reading) float64 { return r.resident }, mib},
		{"goroutines", func(r reading) float64 { return r.goroutines }, n},
		{"descriptors", func(r reading) float64 { return r.descriptors }, n},
	} {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", m.what, m.show(m.of(r.warm)), m.show(m.of(r.end)), m.show(median(first, m.of)), m.show(median(last, m.of)))
	}
	return b.String()
}

// refusals are a row's, with their statuses.
func (r *row) refusals() string {
	if len(r.refused) == 0 {
		return "0"
	}
	var all []string
	for _, status := range slices.Sorted(maps.Keys(r.refused)) {
		all = append(all, fmt.Sprintf("%s × %s", thousands(r.refused[status]), status))
	}
	return strings.Join(all, ", ")
}

// thousands is a number with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
