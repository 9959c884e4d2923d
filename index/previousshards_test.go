package index

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestPreviousShards(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*world)
		want []string
	}{
		"never moved":      {func(w *world) { w.add("a", lc("c")) }, nil},
		"being moved":      {func(w *world) { w.add("a", lc("c")); w.add("b", lc("c", migrating)) }, nil},
		"both are marked":  {func(w *world) { w.add("a", lc("c")); w.add("b", lc("c", migrating)); w.add("a", lc("c", migrating)) }, nil},
		"moved back again": {func(w *world) { move(w, "a", "b"); w.add("a", lc("c", migrating)); move(w, "b", "a") }, []string{"b"}},
		"moved":            {func(w *world) { move(w, "a", "b") }, []string{"a"}},
		"moved, origin gone": {func(w *world) { move(w, "a", "b"); w.del("a", lc("c")) },
			[]string{"a"}},
		"moved twice": {func(w *world) { move(w, "a", "b"); w.del("a", lc("c")); move(w, "b", "d"); w.del("b", lc("c")) }, []string{"a", "b"}},
		"origin's delete comes first": {func(w *world) {
			w.add("a", lc("c"))
			w.add("b", lc("c", migrating))
			w.add("a", lc("c", migrating))
			w.del("a", lc("c"))
			w.add("b", lc("c"))
		}, []string{"a"}},
		"a claim that never held it": {func(w *world) { w.add("a", lc("c")); w.add("b", lc("c")); w.del("b", lc("c")) }, nil},
		"gone everywhere":            {func(w *world) { move(w, "a", "b"); w.del("a", lc("c")); w.del("b", lc("c")) }, nil},
		"origin shard removed":       {func(w *world) { move(w, "a", "b"); w.RemoveShard("a") }, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.synced("a", "b", "d")
			tc.do(w)
			if diff := cmp.Diff(tc.want, w.PreviousShards("c"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("PreviousShards (-want +got):\n%s", diff)
			}
		})
	}
}

// move moves cluster c as kcp does, up to where the origin's copy is deleted.
func move(w *world, from, to string) {
	w.add(from, lc("c"))
	w.add(to, lc("c", migrating))
	w.add(from, lc("c", migrating))
	w.add(to, lc("c"))
}
