package token

import (
	"fmt"
	"sync"
	"testing"
)

func TestDigester(t *testing.T) {
	d := NewDigester()
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := range 1000 {
				one, again, other := d.Digest(fmt.Sprint(n)), d.Digest(fmt.Sprint(n)), d.Digest(fmt.Sprint(n+1))
				if one != again || one == other {
					t.Error("digests are mixed up")
				}
			}
		}()
	}
	wg.Wait()
	if d.Digest("a") == NewDigester().Digest("a") {
		t.Error("two processes would make the same digest")
	}
}
