package jwks

import (
	"fmt"
	"testing"
	"time"
)

func TestDecided(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		issued time.Duration // after start; 0: the token does not say
		asked  []time.Duration
		want   []bool
	}{
		"issued before the reading":               {-time.Second, []time.Duration{time.Second}, []bool{true}},
		"issued in the second of the reading":     {10*time.Second - 1, []time.Duration{11 * time.Second}, []bool{false}},
		"issued since":                            {11 * time.Second, []time.Duration{12 * time.Second, 29 * time.Second, 31 * time.Second}, []bool{false, false, true}},
		"issued a little ahead":                   {20 * time.Second, []time.Duration{12 * time.Second}, []bool{false}},
		"issued far ahead":                        {time.Hour, []time.Duration{12 * time.Second, 29 * time.Second, 31 * time.Second}, []bool{false, false, true}},
		"does not say":                            {0, []time.Duration{12 * time.Second, 29 * time.Second, 31 * time.Second}, []bool{false, false, true}},
		"does not say, first asked for afterward": {0, []time.Duration{31 * time.Second}, []bool{false}},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRefetch()
			r.Read(start.Add(10*time.Second + time.Millisecond))
			if name == "issued before the reading" {
				r.Read(start)
			}
			issued := time.Time{}
			if tc.issued != 0 {
				issued = start.Add(tc.issued)
			}
			read := false
			for n, after := range tc.asked {
				if after > 30*time.Second && !read {
					read = true
					r.Read(start.Add(30 * time.Second))
				}
				if got := r.Decided("id", issued, start.Add(after)); got != tc.want[n] {
					t.Errorf("after %s: %t, want %t", after, got, tc.want[n])
				}
			}
		})
	}
}

// TestUndecidedIDsAreBounded: made up ids take bounded memory; those that do not
// fit are decided until a reading makes room.
func TestUndecidedIDsAreBounded(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	r := NewRefetch()
	for n := range 1000 {
		if got, want := r.Decided(fmt.Sprint(n), time.Time{}, start), n >= maxUndecided; got != want {
			t.Fatalf("id %d is decided: %t, want %t", n, got, want)
		}
	}
	if n := len(r.undecided); n != maxUndecided {
		t.Errorf("%d ids are kept, want %d", n, maxUndecided)
	}
	r.Read(start.Add(time.Second))
	if r.Decided("new", time.Time{}, start.Add(2*time.Second)) || len(r.undecided) != maxUndecided {
		t.Errorf("a reading makes no room; %d ids are kept", len(r.undecided))
	}
	if !r.Decided("0", time.Time{}, start.Add(2*time.Second)) && !r.Decided("1", time.Time{}, start.Add(2*time.Second)) {
		t.Error("what was asked for before the reading is not decided")
	}
}

func TestAllow(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := NewRefetch()
	allowed := map[bool]int{}
	for range 1000 {
		now = now.Add(time.Second / 10)
		for _, undecided := range []bool{false, true} {
			if r.Allow(now, undecided) {
				allowed[undecided]++
			}
		}
	}
	if n, most := allowed[true]+allowed[false], RefetchBurst+int(100*time.Second/RefetchEvery); n > most {
		t.Errorf("%d readings in 100 s, want at most %d", n, most)
	}
	if allowed[false] > 1 {
		t.Errorf("tokens that are decided took %d readings while others wanted them", allowed[false])
	}
}
