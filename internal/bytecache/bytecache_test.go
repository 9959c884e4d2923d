package bytecache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := New[string, int](3*(Overhead+10), nil)
	for i, key := range []string{"a", "b", "c"} {
		c.Add(key, i, 10)
	}
	if v, ok := c.Get("a"); !ok || v != 0 {
		t.Fatalf("a: %d, %t", v, ok)
	}
	c.Add("d", 3, 10)
	for key, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if _, ok := c.Get(key); ok != want {
			t.Errorf("%s is kept: %t, want %t", key, ok, want)
		}
	}
	c.Add("a", 4, 2*(Overhead+10)) // takes the place of its own, and of c and d
	if v, ok := c.Get("a"); !ok || v != 4 || c.Len() != 1 {
		t.Errorf("a: %d, %t; %d entries", v, ok, c.Len())
	}
	c.Add("a", 5, 4*(Overhead+10))
	if _, ok := c.Get("a"); ok {
		t.Error("what is larger than the cache is kept, or what it replaces")
	}
	if c.Bytes() != 0 || c.Len() != 0 {
		t.Errorf("%d bytes, %d entries", c.Bytes(), c.Len())
	}
}

func TestBudgets(t *testing.T) {
	const unit = Overhead + 44 // 300
	total := NewTotal(10*unit, 2*unit)
	mine := total.Budget(6 * unit)
	one, two := New[int, int](5*unit, mine), New[int, int](5*unit, mine)
	for i := range 20 {
		one.Add(i, i, 44)
	}
	for i := range 20 {
		two.Add(i, i, 44)
	}
	if one.Len() != 5 || two.Len() != 1 {
		t.Errorf("%d and %d entries, want 5 and 1: a budget of 6", one.Len(), two.Len())
	}
	next := New[int, int](5*unit, total.Budget(5*unit))
	last := New[int, int](5*unit, total.Budget(5*unit))
	for i := range 20 {
		next.Add(i, i, 44)
		last.Add(i, i, 44)
	}
	if next.Len() != 2 || last.Len() != 2 || total.Used() != 10*unit {
		t.Errorf("%d and %d entries, %d used; want 2, 2 and %d", next.Len(), last.Len(), total.Used(), 10*unit)
	}
	late := New[int, int](5*unit, total.Budget(5*unit))
	for i := range 20 {
		late.Add(i, i, 44)
	}
	if late.Len() != 2 {
		t.Errorf("%d entries, want 2: the floor, whatever others have", late.Len())
	}
	one.Close()
	one.Add(1, 1, 1)
	if one.Len() != 0 || total.Used() != 7*unit {
		t.Errorf("a closed cache has %d entries; %d used, want %d", one.Len(), total.Used(), 7*unit)
	}
}

// TestCountsAreExact: whatever is done, what is counted is what is kept.
func TestCountsAreExact(t *testing.T) {
	total := NewTotal(1<<20, 1<<12)
	var all []*Cache[string, int]
	for range 4 {
		b := total.Budget(1 << 19)
		all = append(all, New[string, int](1<<18, b), New[string, int](1<<18, b))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 3000 {
				c, key := all[r.IntN(len(all))], fmt.Sprint(r.IntN(500))
				switch r.IntN(10) {
				case 0:
					c.Remove(key)
				case 1:
					c.Get(key)
				case 2:
					c.RemoveFunc(func(v int) bool { return v%7 == 0 })
				default:
					n := r.IntN(8 << 10)
					c.Add(key, n, n)
				}
			}
		})
	}
	wg.Wait()
	used := 0
	for _, c := range all {
		kept := 0
		c.RemoveFunc(func(n int) bool { kept += n + Overhead; return false })
		if kept != c.Bytes() || kept > 1<<18 {
			t.Errorf("a cache keeps %d bytes and counts %d", kept, c.Bytes())
		}
		used += kept
	}
	if used != total.Used() {
		t.Errorf("all keep %d bytes, counted are %d", used, total.Used())
	}
	for _, c := range all {
		c.Close()
	}
	if total.Used() != 0 {
		t.Errorf("%d bytes are counted when all are closed", total.Used())
	}
}
