package backoff

import (
	"math"
	"testing"
	"time"
)

func TestExponential(t *testing.T) {
	for _, tc := range []struct {
		first, most time.Duration
		doublings   int
		want        time.Duration
	}{
		{time.Second, time.Minute, 0, time.Second},
		{time.Second, time.Minute, 3, 8 * time.Second},
		{time.Second, time.Minute, 6, time.Minute},
		{time.Second, time.Minute, math.MaxInt, time.Minute},
		{time.Second, time.Millisecond, 0, time.Millisecond},
		{time.Second, time.Hour * 1_000_000, 62, time.Hour * 1_000_000}, // 1 s << 62 overflows
		{0, time.Minute, math.MaxInt, 0},
	} {
		if got := Exponential(tc.first, tc.most, tc.doublings); got != tc.want {
			t.Errorf("%s doubled %d times, at most %s: %s, want %s", tc.first, tc.doublings, tc.most, got, tc.want)
		}
	}
}
