package otherstores

import (
	"fmt"
	"strings"
	"testing"
)

// TestOtherStoresAreBounded: a cluster displaces only its own, the oldest first; and names
// that no resource has are not kept.
func TestOtherStoresAreBounded(t *testing.T) {
	s, at := New(), Move{"s", 7}
	s.Add("other", at, "r")
	for n := range 3 * maxResources {
		s.Add("c", at, fmt.Sprint("r", n))
	}
	s.Add("c", at, strings.Repeat("x", maxName+1))
	var kept []int
	for n := range 3 * maxResources {
		if s.Has("c", at, fmt.Sprint("r", n)) {
			kept = append(kept, n)
		}
	}
	if len(kept) != maxResources || kept[0] != 2*maxResources || !s.Has("other", at, "r") {
		t.Errorf("of %d, %v are kept, and the other cluster's: %v", 3*maxResources, kept, s.Has("other", at, "r"))
	}
	if s.Has("c", at, strings.Repeat("x", maxName+1)) || s.Has("c", Move{"s", 8}, fmt.Sprint("r", kept[0])) || s.Has("c", Move{"t", 7}, fmt.Sprint("r", kept[0])) {
		t.Error("something else is kept")
	}
	long := strings.Repeat("x", maxName-9)
	for n := range 3000 {
		for m := range 4 {
			s.Add(fmt.Sprint("c", n), at, fmt.Sprint(long, m))
		}
	}
	if b := s.clusters.Bytes(); b > maxBytes || s.clusters.Len() < 1000 {
		t.Errorf("%d clusters take %d bytes", s.clusters.Len(), b)
	}
}
