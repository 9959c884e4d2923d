package index

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"frontproxy/index/shards"
)

// bigWorld has n workspaces: three levels of a hundred or so below root, the
// rest at depth 4, over four shards.
func bigWorld(n int) (*world, []string) {
	w := &world{Index: New(clock.RealClock{}), tables: map[string]*shardTables{}}
	names := []string{"s0", "s1", "s2", "s3"}
	w.synced(names...)
	w.add("s0", lc("root"))
	type node struct{ id, path, shard string }
	level := []node{{id: "root", path: "root", shard: "s0"}}
	var leaves []string
	made := 0
	for depth, fan := range []int{10, 10, 100, n} {
		var next []node
		for i := 0; made < n && i < fan*len(level); i++ {
			parent := level[i%len(level)]
			shard := names[made%len(names)]
			child := node{id: fmt.Sprintf("%016x", made+1), shard: shard}
			name := fmt.Sprintf("ws-%d", i/len(level))
			child.path = parent.path + ":" + name
			w.add(parent.shard, ws(parent.id, name, child.id, typed("root:ws-0", "universal")))
			w.add(shard, lc(child.id, owned))
			made++
			if depth == 3 {
				leaves = append(leaves, child.path)
			} else {
				next = append(next, child)
			}
		}
		level = next
	}
	return w, leaves
}

// threadTime is the CPU that this thread has used, which other programs on the
// machine change less than the time of day.
func threadTime(b *testing.B) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		b.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// batch is how many lookups are timed at once.
const batch = 256

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		w, leaves := bigWorld(n)
		strs := 0
		for _, l := range leaves {
			strs += len(l) + 16
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		perWorkspace := float64(int(after.HeapAlloc)-int(before.HeapAlloc)-strs) / float64(n)
		rand.Shuffle(len(leaves), func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
		b.Run(fmt.Sprintf("depth=4/workspaces=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			// Paths come from requests that have just been read, so they are in the
			// caches; what is in the index is where it is.
			var spent time.Duration
			done, read := 0, 0
			for b.Loop() {
				paths := leaves[done%(len(leaves)-batch):][:batch]
				for _, path := range paths {
					read += strings.Count(path, ":")
				}
				begin := threadTime(b)
				for _, path := range paths {
					if _, err := w.Lookup(path); err != nil {
						b.Fatal(err)
					}
				}
				spent += threadTime(b) - begin
				done += batch
			}
			if read != 4*done {
				b.Fatal("not of depth 4")
			}
			b.ReportMetric(float64(spent)/float64(done), "cpu-ns/lookup")
			b.ReportMetric(perWorkspace, "B/workspace")
		})
		b.Run(fmt.Sprintf("parallel/workspaces=%d", n), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(len(leaves)); pb.Next(); i++ {
					_, _ = w.Lookup(leaves[i%len(leaves)])
				}
			})
		})
		runtime.KeepAlive(w)
	}
}

// BenchmarkUpdate is the time an event takes, which is what a lookup may wait.
func BenchmarkUpdate(b *testing.B) {
	w, _ := bigWorld(100_000)
	i := 0
	for b.Loop() {
		o := ws("root", fmt.Sprintf("new-%d", i%1000), fmt.Sprintf("%016x", i%50_000+1), typed("root:ws-0", "universal"))
		w.add("s0", o)
		i++
	}
}

// TestLookupAllocations: a lookup allocates nothing, whatever it finds.
func TestLookupAllocations(t *testing.T) {
	w, leaves := bigWorld(11_000)
	w.add("s0", lc(homeID), ws("root", "mounted", "", mounted("https://there.example")))
	for _, path := range []string{leaves[0], leaves[len(leaves)-1], "root", "user:alice", "root:mounted", "root:nowhere", "nowhere", ""} {
		if n := testing.AllocsPerRun(100, func() { _, _ = w.Lookup(path) }); n != 0 {
			t.Errorf("Lookup(%q) allocates %v times", path, n)
		}
	}
}

// BenchmarkLookupUnderUpdates reports how long lookups take beside 10,000
// updates a second: one in a thousand takes longer than p99.9.
func BenchmarkLookupUnderUpdates(b *testing.B) {
	w, leaves := bigWorld(1_000_000)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for range 10 {
				w.add("s0", ws("root", fmt.Sprintf("new-%d", i%1000), fmt.Sprintf("%016x", i%500_000+1)))
				i++
			}
		}
	})
	took := make([]time.Duration, 0, 1<<20)
	i := 0
	for b.Loop() {
		start := time.Now()
		_, _ = w.Lookup(leaves[(i*7919)%len(leaves)])
		if d := time.Since(start); len(took) < cap(took) {
			took = append(took, d)
		}
		i++
	}
	close(stop)
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*999/1000].Nanoseconds()), "p99.9-ns")
}

// TestConcurrent is for the race detector: lookups beside every kind of event.
func TestConcurrent(t *testing.T) {
	w := newWorld()
	org(w)
	var stop atomic.Bool
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				for _, p := range []string{"root:org:team", teamID, "user:alice", "root:org:m"} {
					target, err := w.Lookup(p)
					if err == nil && target.Mount == nil && (target.Shard == nil || target.Cluster == "") {
						t.Errorf("Lookup(%q) = %+v", p, target)
						return
					}
				}
				_, _ = w.Counts(), w.Shards()
				_, _ = w.Holder(teamID)
			}
		})
	}
	churn := func(shard string, objs ...shards.Object) {
		for range 300 {
			w.SetShard(shard, &shards.Shard{Name: shard})
			f := w.Watches()
			for _, watch := range f {
				table := watch.Table(shard)
				for range 2 {
					table.Begin()
					for _, o := range objs {
						table.Upsert(o) // a table leaves alone what is not its own
					}
					table.End("")
				}
				table.Delete(objs[0])
			}
			w.RemoveShard(shard)
		}
	}
	writers.Go(func() { churn("three", lc(homeID), lc(teamID, migrating)) })
	writers.Go(func() {
		for range 1000 {
			w.add("root", ws(orgID, "m", "", mounted("https://there.example")))
			w.del("root", ws(orgID, "m", ""))
			w.ShardsListed()
		}
	})
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	w.check(t)
}

// BenchmarkNothingMoves is what each request costs for the sake of moves while there are
// none.
func BenchmarkNothingMoves(b *testing.B) {
	w := newWorld()
	w.synced("a")
	w.add("a", lc("c"))
	for b.Loop() {
		if w.MovedAt("c", "a") != 0 {
			b.Fatal("it has moved")
		}
	}
}
