package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// counterCache finds the instrument of a label set by a comparable key, without the
// locks and the hashing of a prometheus vector: requests read a map that is
// replaced, never edited. There are as many entries as label sets have been
// seen, and those are bounded by whoever makes the keys.
type counterCache[K comparable, V any] struct {
	create func(K) V

	mu  sync.Mutex // serializes changes
	all atomic.Pointer[map[K]V]
}

func newCounterCache[K comparable, V any](create func(K) V) *counterCache[K, V] {
	s := &counterCache[K, V]{create: create}
	s.all.Store(&map[K]V{})
	return s
}

func (s *counterCache[K, V]) get(key K) V {
	if v, ok := (*s.all.Load())[key]; ok {
		return v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := (*s.all.Load())[key]; ok {
		return v
	}
	all := maps.Clone(*s.all.Load())
	v := s.create(key)
	all[key] = v
	s.all.Store(&all)
	return v
}

// forget runs remove, which takes instruments out of their vector, and forgets
// the keys that gone names.
func (s *counterCache[K, V]) forget(gone func(K) bool, remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	remove()
	all := maps.Clone(*s.all.Load())
	maps.DeleteFunc(all, func(k K, _ V) bool { return gone(k) })
	s.all.Store(&all)
}
