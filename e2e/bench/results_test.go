package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpread(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   spread
	}{
		"none": {nil, spread{}},
		"one":  {[]float64{3}, spread{3, 3, 3, 1}},
		"odd":  {[]float64{9, 1, 4}, spread{4, 1, 9, 3}},
		"even": {[]float64{8, 1, 4, 2}, spread{3, 2, 4, 4}},
		"many": {[]float64{7, 1, 6, 2, 5, 3, 4, 100}, spread{4.5, 3, 6, 8}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, spreadOf(c.values), cmp.AllowUnexported(spread{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Ratios are of one round each: a machine that became twice as slow between
// rounds changes none.
func TestRatio(t *testing.T) {
	cell := cells[0].name
	k := series{cell, metricCPU, "µs/request"}
	r := &results{}
	for round, slow := range []float64{1, 2, 3} {
		for who, v := range map[target]float64{ours: 60, incumbent: 200, floor: 50} {
			r.add(sample{Measure: cell, Metric: metricCPU, Unit: "µs/request", Target: who, Round: round, Value: v * slow})
		}
	}
	r.add(sample{Measure: cell, Metric: metricCPU, Unit: "µs/request", Target: ours, Round: 3, Value: 1}) // nobody else's
	if diff := cmp.Diff(spread{0.3, 0.3, 0.3, 3}, r.ratio(k, incumbent), cmp.AllowUnexported(spread{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	table := r.table()
	for _, want := range []string{"| 400 (200–600) |", "≤ 0.45 × kcp-front-proxy: met", "≤ 0.95 × floor: **missed**"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
}

func TestBound(t *testing.T) {
	for _, c := range []struct {
		bound bound
		got   float64
		met   bool
	}{
		{bound{value: 0.5}, 0.5, true}, {bound{value: 0.5}, 0.51, false},
		{bound{value: 0.9, least: true}, 0.9, true}, {bound{value: 0.9, least: true}, 0.89, false},
	} {
		if met := c.bound.met(spread{median: c.got, n: 1}); met != c.met {
			t.Errorf("%s of %v: met %t", c.bound, c.got, met)
		}
	}
}
