package proxy

import (
	"slices"
	"testing"
)

// TestFreesMemoryAfterABurst: memory is freed once after a burst of watches, when it is over,
// and never while watches begin and end as usual.
func TestFreesMemoryAfterABurst(t *testing.T) {
	type second struct {
		begun, open int
		due         bool
	}
	for name, seconds := range map[string][]second{
		"a few":                  {{100, 100, false}, {100, 100, false}},
		"a burst":                {{600, 600, false}, {4000, 4000, false}, {4001, 4000, true}, {4001, 4000, false}},
		"two bursts":             append(append([]second{{600, 600, false}, {600, 600, true}, {1200, 1200, false}}, slices.Repeat([]second{{1200, 1200, false}}, minIntervals-2)...), second{1200, 1200, true}),
		"coming and going":       {{100_000, 10_000, false}, {100_200, 10_000, false}, {100_400, 10_000, false}},
		"few of many":            append([]second{{10_000, 10_000, false}, {10_000, 10_000, true}}, slices.Repeat([]second{{12_000, 10_000, false}}, 2*minIntervals)...),
		"a burst that has ended": {{5000, 5000, false}, {5000, 0, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var s gcTrigger
			for i, at := range seconds {
				if due := s.due(at.begun, at.open); due != at.due {
					t.Errorf("second %d, %d begun and %d open: %t", i, at.begun, at.open, due)
				}
			}
		})
	}
}
