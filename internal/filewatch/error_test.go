package filewatch

import (
	"errors"
	"testing"
)

func TestRepeatedErrorsAreReportedOnce(t *testing.T) {
	t.Parallel()
	one, other := errors.New("one"), errors.New("other")
	var f File[int]
	for i, step := range []struct {
		err  error
		news bool
	}{{nil, false}, {one, true}, {errors.New("one"), false}, {other, true}, {nil, false}, {nil, false}, {other, true}} {
		if got := f.setError(step.err); got != step.news {
			t.Errorf("%d: setError(%v) = %v", i, step.err, got)
		}
		if got := f.LastError(); (got == nil) != (step.err == nil) || got != nil && got.Error() != step.err.Error() {
			t.Errorf("%d: after setError(%v) LastError is %v", i, step.err, got)
		}
	}
}
