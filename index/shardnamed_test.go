package index

import (
	"errors"
	"testing"
)

func TestShardNamed(t *testing.T) {
	w := newWorld()
	if _, err := w.ShardNamed("a"); !errors.Is(err, ErrNotSynced) {
		t.Errorf("before root has answered: %v", err)
	}
	w.synced("a", "ab")
	w.SetShard("b", nil)
	for name, want := range map[string]error{"a": nil, "ab": nil, "b": ErrNotSynced, "c": ErrUnknown, "": ErrUnknown} {
		s, err := w.ShardNamed(name)
		if !errors.Is(err, want) || want == nil && s.Name != name {
			t.Errorf("ShardNamed(%q): %v, %v; want %v", name, s, err, want)
		}
	}
}
