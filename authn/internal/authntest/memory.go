package authntest

import "runtime"

// Retained is how many bytes of heap are in use for what do leaves behind.
func Retained(do func()) int64 {
	before := HeapInUse()
	do()
	return HeapInUse() - before
}

// HeapInUse is what is live.
func HeapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // below 2^63
}
