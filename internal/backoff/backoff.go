// Package backoff computes pauses between attempts that fail. It must not know what is attempted,
// nor does it wait.
package backoff

import "time"

// Exponential returns first, doubled the given number of times, but never more than most. All are
// positive or 0; most may be less than first.
func Exponential(first, most time.Duration, doublings int) time.Duration {
	pause := first
	for ; doublings > 0 && 0 < pause && pause < most; doublings-- {
		pause *= 2
	}
	return min(pause, most)
}
