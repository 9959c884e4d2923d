// Package bytecache keeps values that others chose within a number of bytes, not
// of entries: an entry may be a hundred times as large as another.
package bytecache

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Overhead is what an entry takes beside what Add is told, in bytes.
const Overhead = 256

// Cache keeps values, the least recently used of which go first when there is no
// room. Safe for concurrent use.
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

// New returns a cache of at most so many bytes, which are of budget too; nil:
// there is no other bound.
func New[K comparable, V any](most int, budget *Budget) *Cache[K, V] {
	c := &Cache[K, V]{most: most, budget: budget}
	c.entries, _ = simplelru.NewLRU(math.MaxInt, func(_ K, e entry[V]) { c.forget(e.bytes) }) // fails only for a size below one
	return c
}

// forget is called when an entry has gone. The caller of what made it go holds mu.
func (c *Cache[K, V]) forget(n int) {
	c.bytes -= n
	c.budget.release(n)
}

// Get returns the value of a key; false: there is none.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries.Get(key)
	return e.value, ok
}

// Add keeps a value of so many bytes in the place of the key's. What there is no
// room for, even when all others have gone, is not kept.
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

// Remove forgets a key.
func (c *Cache[K, V]) Remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(key)
}

// RemoveFunc forgets the values that gone names.
func (c *Cache[K, V]) RemoveFunc(gone func(V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range c.entries.Keys() {
		if e, ok := c.entries.Peek(key); ok && gone(e.value) {
			c.entries.Remove(key)
		}
	}
}

// Close forgets all, for good: nothing is kept from then on.
func (c *Cache[K, V]) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.entries.Purge()
}

// Len is how many values there are.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries.Len()
}

// Bytes is what they take.
func (c *Cache[K, V]) Bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Total bounds the budgets that are made from it, in bytes. When they have used
// it up, each may still use Floor: who has much leaves others something.
type Total struct {
	most, floor int

	mu   sync.Mutex // guards used, and that of the budgets
	used int
}

// NewTotal returns a Total.
func NewTotal(most, floor int) *Total { return &Total{most: most, floor: floor} }

// Used is what all budgets have in use.
func (t *Total) Used() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

// Budget bounds the caches that share it together, in bytes. A nil Budget has no
// bound.
type Budget struct {
	total *Total
	most  int
	used  int
}

// Budget returns one of at most so many bytes.
func (t *Total) Budget(most int) *Budget { return &Budget{total: t, most: most} }

// reserve takes n bytes; false: there is no room for them.
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
