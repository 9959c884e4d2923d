package jwks

import (
	"strings"
	"testing"
)

// TestParseOfManyEntries: a key set with far too many entries takes no more memory than a few times its text.
func TestParseOfManyEntries(t *testing.T) {
	body := []byte(`{"keys":[` + strings.TrimSuffix(strings.Repeat("0,", 500<<10), ",") + `]}`)
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(body, 100); err == nil {
				t.Fatal("it is accepted")
			}
		}
	})
	if got := result.AllocedBytesPerOp(); got > 3<<20 {
		t.Errorf("%d bytes are allocated for %d", got, len(body))
	}
}
