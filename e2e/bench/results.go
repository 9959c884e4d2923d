package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The metrics that targets are set for.
const (
	metricCPU        = "CPU"
	metricThroughput = "throughput"
	metricP99        = "p99"
	metricPeak       = "peak memory"
	metricResident   = "resident memory"
	metricStart      = "start to first answer"
	metricEvents     = "CPU at 50 events a second"
	metricRatio      = "p99 ÷ p99 without"
)

// sample is one figure.
type sample struct {
	Measure, Metric, Unit string
	Target                target
	Round                 int
	Value                 float64
}

// results are all samples of a run, in the order they were taken.
type results struct{ samples []sample }

func (r *results) add(s sample) { r.samples = append(r.samples, s) }

// series identifies a row of the table.
type series struct{ measure, metric, unit string }

// rows are the series there are, in the order they were first seen.
func (r *results) rows() []series {
	var all []series
	for _, s := range r.samples {
		if k := (series{s.Measure, s.Metric, s.Unit}); !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	return all
}

// values are a series' of one target, by round.
func (r *results) values(k series, t target) map[int]float64 {
	all := map[int]float64{}
	for _, s := range r.samples {
		if s.Target == t && k == (series{s.Measure, s.Metric, s.Unit}) {
			all[s.Round] = s.Value
		}
	}
	return all
}

// spread is a median, and what the middle half of the values lies between. The zero spread is
// of no values.
type spread struct {
	median, low, high float64
	n                 int
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return spread{median: (values[(n-1)/2] + values[n/2]) / 2, low: values[n/4], high: values[n-1-n/4], n: n}
}

// of is a target's spread.
func (r *results) of(k series, t target) spread {
	var all []float64
	for _, v := range r.values(k, t) {
		all = append(all, v)
	}
	return spreadOf(all)
}

// ratio is front-proxy's to another target, of rounds that have both: what two
// different rounds have is not comparable.
func (r *results) ratio(k series, to target) spread {
	mine, theirs := r.values(k, ours), r.values(k, to)
	var all []float64
	for round, v := range mine {
		if other := theirs[round]; other > 0 {
			all = append(all, v/other)
		}
	}
	return spreadOf(all)
}

// bound is what a ratio, or front-proxy's figure itself, is to keep.
type bound struct {
	of    target // empty: the figure itself
	value float64
	least bool // at least, not at most
}

// String is how a table shows it.
func (b bound) String() string {
	sign := "≤ "
	if b.least {
		sign = "≥ "
	}
	return sign + number(b.value)
}

// met reports whether s keeps it, by its median.
func (b bound) met(s spread) bool {
	if b.least {
		return s.median >= b.value
	}
	return s.median <= b.value
}

// bounds are the project's targets for a series.
func bounds(k series) []bound {
	for _, c := range cells {
		if c.name != k.measure {
			continue
		}
		return c.bounds(k)
	}
	switch {
	case k.metric == metricStart && k.measure == "100000 workspaces", k.metric == metricEvents:
		return []bound{{of: incumbent, value: 0.5}}
	case k.metric == metricPeak && k.measure == "100000 workspaces":
		return []bound{{value: 120}}
	case k.metric == metricRatio && k.measure == loopAttack:
		return []bound{{value: 1.5}}
	case k.measure == "idle watch, HTTP/2", k.measure == "idle watch, HTTP/1.1":
		return []bound{{of: incumbent, value: 0.75}}
	case k.measure == "configuration of one issuer":
		return []bound{{value: 20}}
	}
	return nil
}

func (c *cell) bounds(k series) []bound {
	var all []bound
	add := func(of target, value float64, least bool) {
		if value != 0 {
			all = append(all, bound{of, value, least})
		}
	}
	switch k.metric {
	case metricCPU:
		add(incumbent, c.ofIncumbent, false)
		add(floor, c.ofFloor, false)
		add(usualFloor, c.ofFloor, false)
	case metricThroughput:
		add(incumbent, 1, true)
		add(floor, c.throughput, true)
	case metricP99:
		add(incumbent, 1, false)
	}
	return all
}

// table is the report for people, in Markdown.
func (r *results) table() string {
	others := []target{incumbent, floor}
	for _, t := range []target{usualFloor, pooledFloor, haproxy, earlier} {
		if slices.ContainsFunc(r.samples, func(s sample) bool { return s.Target == t }) {
			others = append(others, t)
		}
	}
	columns := append([]target{ours, direct}, others...)
	var b strings.Builder
	b.WriteString("| measure | unit |")
	for _, t := range columns {
		fmt.Fprintf(&b, " %s |", t)
	}
	for _, t := range others {
		fmt.Fprintf(&b, " ÷ %s |", t)
	}
	fmt.Fprintf(&b, " target |\n|---|---|%s---|\n", strings.Repeat("--:|", len(columns)+len(others)))
	for _, k := range r.rows() {
		fmt.Fprintf(&b, "| %s: %s | %s |", k.measure, k.metric, k.unit)
		for _, t := range columns {
			fmt.Fprintf(&b, " %s |", r.of(k, t).figure())
		}
		for _, t := range others {
			fmt.Fprintf(&b, " %s |", r.ratio(k, t).figure())
		}
		fmt.Fprintf(&b, " %s |\n", r.verdict(k))
	}
	return b.String()
}

// verdict says what is wanted, and whether it is so.
func (r *results) verdict(k series) string {
	var all []string
	for _, b := range bounds(k) {
		got, of := r.of(k, ours), ""
		if b.of != "" {
			got, of = r.ratio(k, b.of), " × "+string(b.of)
		}
		if got.n == 0 {
			continue
		}
		word := "met"
		if !b.met(got) {
			word = "**missed**"
		}
		all = append(all, b.String()+of+": "+word)
	}
	return strings.Join(all, "; ")
}

// figure shows a spread: the median, and in brackets what it lies between.
func (s spread) figure() string {
	switch s.n {
	case 0:
		return ""
	case 1:
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.median), number(s.low), number(s.high))
}

// number has three digits that mean something.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// csv has every sample.
func (r *results) csv() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write([]string{"measure", "metric", "unit", "target", "round", "value"}); err != nil {
		return nil, err
	}
	for _, s := range r.samples {
		if err := w.Write([]string{s.Measure, s.Metric, s.Unit, string(s.Target), strconv.Itoa(s.Round), strconv.FormatFloat(s.Value, 'g', 6, 64)}); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// write puts the report into dir.
func (r *results) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for everybody
		return err
	}
	samples, err := r.csv()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"results.md": []byte(r.table()), "results.csv": samples, "results.svg": r.plot()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // for everybody
			return err
		}
	}
	return nil
}
