package filewatch

import (
	"errors"
	"testing"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	one, other := errors.New("one"), errors.New("other")
	var s status
	for i, step := range []struct {
		err  error
		news bool
	}{{nil, false}, {one, true}, {errors.New("one"), false}, {other, true}, {nil, false}, {nil, false}, {other, true}} {
		if got := s.set(step.err); got != step.news {
			t.Errorf("%d: Set(%v) = %v", i, step.err, got)
		}
		if got := s.lastError(); (got == nil) != (step.err == nil) || got != nil && got.Error() != step.err.Error() {
			t.Errorf("%d: after Set(%v) lastError is %v", i, step.err, got)
		}
	}
}
