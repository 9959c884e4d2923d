package index

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"frontproxy/index/shards"
)

func at(version uint64) lcOption {
	return func(o *logicalCluster) { o.Metadata.ResourceVersion = strconv.FormatUint(version, 10) }
}

// relist lists the LogicalClusters of a shard anew.
func (w *world) relist(shard string, version uint64, objs ...shards.Object) {
	table := w.tables[shard].clusters
	table.Begin()
	for _, o := range objs {
		table.Upsert(o)
	}
	table.End(strconv.FormatUint(version, 10))
}

// TestMoveState: what is known of the move of cluster c away from shard a, after each
// step, and the version that shard b had reached when c's move there was complete.
func TestMoveState(t *testing.T) {
	type want struct {
		state   MoveState // away from a
		movedAt uint64    // on b
	}
	type step struct {
		do   func(*world)
		want want
	}
	add := func(shard string, opts ...lcOption) func(*world) {
		return func(w *world) { w.add(shard, lc("c", opts...)) }
	}
	del := func(shard string, opts ...lcOption) func(*world) {
		return func(w *world) { w.del(shard, lc("c", opts...)) }
	}
	other := func(shard string, version uint64) func(*world) {
		return func(w *world) { w.add(shard, lc("other", at(version))) }
	}
	for name, steps := range map[string][]step{
		"as kcp 0.32 moves": {
			{add("a", at(900)), want{NotMoving, 0}},
			{add("a", at(901), migrating), want{Moving, 0}},
			{add("b", at(40), migrating), want{Moving, 0}},
			{other("b", 45), want{Moving, 0}},
			{del("a", at(910), migrating), want{Moving, 0}},
			{add("b", at(50)), want{Moved, 50}},
			{other("b", 60), want{Moved, 50}},
			{add("b", at(70)), want{Moved, 50}},
		},
		"the origin's removal is seen before the copy": {
			{add("a", at(900)), want{NotMoving, 0}},
			{add("a", at(901), migrating), want{Moving, 0}},
			{del("a", at(910), migrating), want{Moving, 0}},
			{add("b", at(40), migrating), want{Moving, 0}},
			{add("b", at(50)), want{Moved, 50}},
		},
		"the origin stays until the end": {
			{add("a", at(900)), want{NotMoving, 0}},
			{add("b", at(40), migrating), want{NotMoving, 0}},
			{add("a", at(901), migrating), want{Moving, 0}},
			{add("b", at(50)), want{Moved, 50}},
			{del("a", at(910), migrating), want{Moved, 50}},
		},
		"completed by an event of the origin": {
			{add("a", at(900)), want{NotMoving, 0}},
			{add("b", at(40)), want{Moving, 0}},
			{other("b", 44), want{Moving, 0}},
			{del("a", at(910)), want{Moved, 44}},
		},
		"given up": {
			{add("a", at(900)), want{NotMoving, 0}},
			{add("a", at(901), migrating), want{Moving, 0}},
			{add("b", at(40), migrating), want{Moving, 0}},
			{del("b", at(41), migrating), want{Moving, 0}},
			{add("a", at(902)), want{NotMoving, 0}},
		},
		"moved and back": {
			{add("a", at(900)), want{NotMoving, 0}},
			{add("a", at(901), migrating), want{Moving, 0}},
			{add("b", at(40), migrating), want{Moving, 0}},
			{del("a", at(910), migrating), want{Moving, 0}},
			{add("b", at(50)), want{Moved, 50}},
			{add("b", at(51), migrating), want{Moved, 50}},
			{add("a", at(950), migrating), want{Moving, 50}},
			{del("b", at(52), migrating), want{Moving, 50}},
			{add("a", at(960)), want{NotMoving, 0}},
		},
		"a conflict, and a claim that goes away": {
			{add("a", at(900)), want{NotMoving, 0}},
			{add("b", at(40)), want{Moving, 0}},
			{del("b", at(41)), want{NotMoving, 0}},
		},
		"a relist is no move": {
			{add("a", at(900)), want{NotMoving, 0}},
			{func(w *world) { w.tables["a"].clusters.Begin() }, want{NotMoving, 0}},
			{func(w *world) { w.relist("a", 950, lc("c", at(900))) }, want{NotMoving, 0}},
		},
		"a shard that is gone for a while is no move": {
			{add("a", at(900)), want{NotMoving, 0}},
			{func(w *world) { w.RemoveShard("a") }, want{NotMoving, 0}},
			{func(w *world) { w.synced("a"); w.relist("a", 950, lc("c", at(900))) }, want{NotMoving, 0}},
		},
		"a new cluster of the same name is no move": {
			{add("a", at(900)), want{NotMoving, 0}},
			{del("a", at(901)), want{NotMoving, 0}},
			{add("b", at(40)), want{NotMoving, 0}},
		},
		"seen in lists only": {
			{func(w *world) { w.relist("a", 950, lc("c", at(900))) }, want{NotMoving, 0}},
			{func(w *world) { w.relist("b", 60, lc("c", at(50), migrating)) }, want{NotMoving, 0}},
			{func(w *world) { w.relist("a", 990) }, want{Moving, 0}},
			{func(w *world) { w.relist("b", 80, lc("c", at(70))) }, want{Moved, 70}},
			{func(w *world) { w.relist("b", 81, lc("c", at(70))) }, want{Moved, 70}},
		},
		"the new shard's storage is replaced": {
			{add("a", at(900)), want{NotMoving, 0}},
			{add("a", at(901), migrating), want{Moving, 0}},
			{add("b", at(40), migrating), want{Moving, 0}},
			{add("b", at(50)), want{Moved, 50}},
			{func(w *world) { w.relist("b", 9, lc("c", at(8))) }, want{Moved, 0}},
		},
		"versions that are no numbers": {
			{add("a", migrating), want{Moving, 0}},
			{func(w *world) { o := lc("c"); o.Metadata.ResourceVersion = "x"; w.add("b", o) }, want{Moved, 0}},
		},
		"the process starts in the middle": {
			{add("b", at(40), migrating), want{NotMoving, 0}},
			{add("a", at(901), migrating), want{Moving, 0}},
			{del("a", at(910), migrating), want{Moved, 0}},
			{add("b", at(50)), want{Moved, 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			told := map[string]int{}
			w.OnMove(func(cluster string) {
				told[cluster]++
				w.MoveState(cluster, "a") // no lock is held
			})
			w.synced("a", "b")
			for n, s := range steps {
				before, counted := w.MoveState("c", "a"), told["c"]
				s.do(w)
				got := want{w.MoveState("c", "a"), w.MovedAt("c", "b")}
				if got != s.want {
					t.Fatalf("after step %d: %+v, want %+v", n+1, got, s.want)
				}
				if got.state != before && told["c"] == counted {
					t.Errorf("step %d has changed the state to %d, and nobody was told", n+1, got.state)
				}
				w.check(t)
			}
			if told["other"] != 0 {
				t.Errorf("another cluster's move was told of %d times", told["other"])
			}
		})
	}
}

// TestVanishedClustersAreBounded: clusters that are removed while they are marked are
// forgotten, oldest first, unless they appear again.
func TestVanishedClustersAreBounded(t *testing.T) {
	w := newWorld()
	w.synced("a", "b")
	name := func(n int) string { return fmt.Sprint("c", n) }
	for n := range maxVanished + 2 {
		w.add("a", lc(name(n), migrating))
		w.del("a", lc(name(n), migrating))
		if n == 0 {
			w.add("b", lc(name(0)))
		}
	}
	got := map[string]MoveState{}
	for _, n := range []int{0, 1, 2, maxVanished + 1} {
		got[name(n)] = w.MoveState(name(n), "a")
	}
	want := map[string]MoveState{name(0): Moved, name(1): NotMoving, name(2): Moving, name(maxVanished + 1): Moving}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if len(w.vanished) != maxVanished || len(w.previous) != maxVanished+1 {
		t.Errorf("%d names and %d records are kept", len(w.vanished), len(w.previous))
	}
	w.del("b", lc(name(0)))
	if w.MoveState(name(0), "a") != NotMoving {
		t.Error("a cluster that is gone has moved")
	}
}

// TestVanishedTwice: a cluster that vanishes again is remembered for as long as any that
// vanishes then.
func TestVanishedTwice(t *testing.T) {
	w := newWorld()
	w.synced("a")
	vanish := func(name string) {
		w.add("a", lc(name, migrating))
		w.del("a", lc(name, migrating))
	}
	vanish("c")
	w.add("a", lc("c"))
	w.del("a", lc("c")) // a new cluster of the name comes and goes
	for n := range maxVanished - 1 {
		vanish(fmt.Sprint("other", n))
	}
	vanish("c")
	vanish("last")
	if w.MoveState("c", "a") != Moving || len(w.vanished) != maxVanished || len(w.previous) != maxVanished {
		t.Errorf("it is in state %d; %d names and %d records are kept", w.MoveState("c", "a"), len(w.vanished), len(w.previous))
	}
}

// TestMovesAreOver: when no cluster that has moved, is marked or is claimed twice is left,
// questions about moves take no lock again.
func TestMovesAreOver(t *testing.T) {
	for name, do := range map[string]func(*world){
		"a mark that goes": func(w *world) {
			w.add("a", lc("c", migrating))
			w.add("a", lc("c"))
		},
		"a conflict that goes": func(w *world) {
			w.add("a", lc("c"))
			w.add("b", lc("c"))
			w.del("b", lc("c"))
			w.del("a", lc("c"))
		},
		"a moved cluster that is deleted": func(w *world) {
			w.add("a", lc("c", migrating))
			w.add("b", lc("c", migrating))
			w.del("a", lc("c", migrating))
			w.add("b", lc("c"))
			w.del("b", lc("c"))
		},
		"a marked one that a list lacks": func(w *world) {
			w.add("a", lc("c"))
			w.add("b", lc("c", migrating))
			w.relist("b", 9)
			w.relist("a", 9)
		},
		"a shard that is removed": func(w *world) {
			w.add("a", lc("c"))
			w.add("b", lc("c"))
			w.RemoveShard("b")
			w.relist("a", 9)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.synced("a", "b")
			var states []MoveState
			w.OnMove(func(cluster string) { states = append(states, w.MoveState(cluster, "a")) })
			do(w)
			if w.anyMoves.Load() {
				t.Error("it still asks under the lock")
			}
			if len(states) == 0 || states[len(states)-1] != NotMoving {
				t.Errorf("the states that were told are %v", states)
			}
			w.check(t)
			w.add("a", lc("d", migrating))
			if !w.anyMoves.Load() || w.MoveState("d", "a") != Moving {
				t.Error("a move that begins later is not seen")
			}
		})
	}
}

// TestNothingMoves: while no cluster has begun to move, questions about moves do not wait
// for the tables' lock.
func TestNothingMoves(t *testing.T) {
	w := newWorld()
	w.synced("a")
	w.add("a", lc("c"))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.MoveState("c", "a") != NotMoving || w.MovedAt("c", "a") != 0 {
		t.Error("a cluster has moved")
	}
}
