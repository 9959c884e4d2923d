package identity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGroupFilter(t *testing.T) {
	for name, tc := range map[string]struct {
		passOn, drop, in, want []string
	}{
		"no filter sorts, and keeps each once": {in: []string{"b", "a", "b"}, want: []string{"a", "b"}},
		"pass on":                              {passOn: []string{"a", "x*"}, in: []string{"a", "ab", "xy", "x"}, want: []string{"a", "x", "xy"}},
		"drop":                                 {drop: []string{"a", "x*"}, in: []string{"a", "ab", "xy", "x"}, want: []string{"ab"}},
		"dropping beats passing on":            {passOn: []string{"a*"}, drop: []string{"ab"}, in: []string{"a", "ab", "abc"}, want: []string{"a", "abc"}},
		"system:authenticated is no exception": {drop: []string{"system:*"}, in: []string{"system:authenticated", "a"}, want: []string{"a"}},
		"nothing left":                         {drop: []string{"*"}, in: []string{"a"}, want: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			f := GroupFilter{PassOn: NewGroupSet(tc.passOn), Drop: NewGroupSet(tc.drop)}
			if diff := cmp.Diff(tc.want, f.Apply(tc.in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
