package index

import (
	"math/rand/v2"
	"testing"
)

// TestHashIndexAgreesWithAMap compares the table with a map, under a hash so poor that nearly all
// probes collide, and under a good one.
func TestHashIndexAgreesWithAMap(t *testing.T) {
	for name, hash := range map[string]func(uint32) uint64{
		"one part, few hashes": func(id uint32) uint64 { return uint64(id % 7) },
		"neighbours":           func(id uint32) uint64 { return uint64(id) },
		"at the end":           func(id uint32) uint64 { return uint64(0xffffffff - id%5) },
		"spread":               func(id uint32) uint64 { return uint64(id) * 0x9e3779b97f4a7c15 },
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			table, want := newHashIndex(), map[uint32]bool{}
			for range 20_000 {
				id := 1 + r.Uint32N(300)
				if want[id] {
					table.remove(hash(id), id)
				} else {
					table.add(hash(id), id)
				}
				want[id] = !want[id]
				probe := 1 + r.Uint32N(300)
				got := table.find(hash(probe), func(found uint32) bool { return found == probe })
				if (got == probe) != want[probe] || got != 0 && got != probe {
					t.Fatalf("find(%d) = %d, want it there: %t", probe, got, want[probe])
				}
			}
			n := 0
			for _, there := range want {
				if there {
					n++
				}
			}
			if got := table.len(); got != n {
				t.Errorf("%d ids, want %d", got, n)
			}
		})
	}
}

// len counts the IDs.
func (t *hashIndex) len() (n int) {
	for i := range t.parts {
		n += t.parts[i].used
	}
	return n
}
