package authn

import (
	"slices"
	"strings"
)

// groupFilter is --authentication-pass-on-groups and
// --authentication-drop-groups: which groups of global identities reach a
// shard. A trailing * is a prefix; dropping beats passing on; an empty
// pass-on list passes on everything.
type groupFilter struct {
	passOn, drop groupSet
}

type groupSet struct {
	exact    map[string]bool
	prefixes []string
}

func newGroupSet(patterns []string) groupSet {
	s := groupSet{exact: map[string]bool{}}
	for _, p := range patterns {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			s.prefixes = append(s.prefixes, prefix)
		} else {
			s.exact[p] = true
		}
	}
	return s
}

func (s groupSet) empty() bool { return len(s.exact) == 0 && len(s.prefixes) == 0 }

func (s groupSet) has(group string) bool {
	return s.exact[group] || slices.ContainsFunc(s.prefixes, func(p string) bool { return strings.HasPrefix(group, p) })
}

// apply returns a new slice: the groups that may pass, sorted, each once.
func (f groupFilter) apply(groups []string) []string {
	kept := make([]string, 0, len(groups))
	for _, g := range groups {
		if f.drop.has(g) || !f.passOn.empty() && !f.passOn.has(g) {
			continue
		}
		kept = append(kept, g)
	}
	slices.Sort(kept)
	return slices.Compact(kept)
}
