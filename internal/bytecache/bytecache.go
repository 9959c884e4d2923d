// Package bytecache is a cache with a limit in bytes rather than entries, for values
// from untrusted sources: one entry may be a hundred times as large as another.
// It must not know what it keeps: its user says how large a value is and whether it still
// counts.
package bytecache

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Overhead is what an entry takes in addition to the size given to Add, in bytes.
const Overhead = 256

// Cache is an LRU cache: it evicts the least recently used values to make room. Safe
// for concurrent use.
type Cache[K comparable, V any] struct {
	most   int
	budget *Budget

	mu      sync.Mutex // guards what follows
	entries *simplelru.LRU[K, entry[V]]
	bytes   int
	closed  bool
}

type entry[V any] struct {
	value V
	bytes int
}

// New returns a cache of at most this many bytes, which also count against budget. A
// nil budget adds no limit.
func New[K comparable, V any](most int, budget *Budget) *Cache[K, V] {
	c := &Cache[K, V]{most: most, budget: budget}
	c.entries, _ = simplelru.NewLRU(math.MaxInt, func(_ K, e entry[V]) { c.forget(e.bytes) }) // fails only for a size below one
	return c
}

// forget is called for each removed entry. The caller of the method that removes it
// holds mu.
func (c *Cache[K, V]) forget(n int) {
	c.bytes -= n
	c.budget.release(n)
}

// Get returns the value of a key, and whether there is one.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries.Get(key)
	return e.value, ok
}

// Add stores a value of the given size under the key, in place of an earlier one. If
// there is no room even without all other entries, it stores nothing.
func (c *Cache[K, V]) Add(key K, value V, bytes int) {
	bytes += Overhead
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(key)
	if c.closed || bytes > c.most {
		return
	}
	for c.bytes+bytes > c.most || !c.budget.reserve(bytes) {
		if _, _, ok := c.entries.RemoveOldest(); !ok {
			return
		}
	}
	c.bytes += bytes
	c.entries.Add(key, entry[V]{value, bytes})
}

// Remove removes a key.
func (c *Cache[K, V]) Remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(key)
}

// RemoveFunc removes the values for which gone returns true.
func (c *Cache[K, V]) RemoveFunc(gone func(V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.entries.Keys() {
		if e, ok := c.entries.Peek(key); ok && gone(e.value) {
			c.entries.Remove(key)
		}
	}
}

// Close removes everything; later Adds store nothing.
func (c *Cache[K, V]) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.entries.Purge()
}

// Len returns the number of values.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries.Len()
}

// Bytes returns the size of all values.
func (c *Cache[K, V]) Bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Total bounds the sum of the budgets that are made from it, in bytes. When it is
// used up, each budget may still use Floor bytes, so that large users leave room for
// others.
type Total struct {
	most, floor int

	mu   sync.Mutex // guards used here and in the budgets
	used int
}

// NewTotal returns a Total.
func NewTotal(most, floor int) *Total { return &Total{most: most, floor: floor} }

// Used returns the bytes in use by all budgets.
func (t *Total) Used() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

// Budget bounds the sum of the caches that share it, in bytes. A nil Budget has no
// limit.
type Budget struct {
	total *Total
	most  int
	used  int
}

// Budget returns a budget of at most this many bytes.
func (t *Total) Budget(most int) *Budget { return &Budget{total: t, most: most} }

// reserve reserves n bytes, and reports whether there was room for them.
func (b *Budget) reserve(n int) bool {
	if b == nil {
		return true
	}
	b.total.mu.Lock()
	defer b.total.mu.Unlock()
	if b.used+n > b.most || b.total.used+n > b.total.most && b.used+n > b.total.floor {
		return false
	}
	b.used += n
	b.total.used += n
	return true
}

func (b *Budget) release(n int) {
	if b == nil {
		return
	}
	b.total.mu.Lock()
	defer b.total.mu.Unlock()
	b.used -= n
	b.total.used -= n
}
