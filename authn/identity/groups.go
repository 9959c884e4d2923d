package identity

import (
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
)

// GroupFilter is --authentication-pass-on-groups and
// --authentication-drop-groups: which groups of global identities reach a
// shard. A trailing * is a prefix; dropping beats passing on; an empty
// pass-on list passes on everything. What workspace types' issuers may not assert, system: groups
// among it, is dropped by GuardWorkspaceUser.
type GroupFilter struct {
	PassOn, Drop GroupSet
}

// GroupSet is a list of groups and, with a trailing *, of prefixes of groups. The
// zero GroupSet has none.
type GroupSet struct {
	exact    map[string]bool
	prefixes []string
}

// NewGroupSet makes the set of the patterns.
func NewGroupSet(patterns []string) GroupSet {
	s := GroupSet{exact: map[string]bool{}}
	for _, p := range patterns {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			s.prefixes = append(s.prefixes, prefix)
		} else {
			s.exact[p] = true
		}
	}
	return s
}

func (s GroupSet) empty() bool { return len(s.exact) == 0 && len(s.prefixes) == 0 }

// Has reports whether the group is in the set, or has a prefix that is.
func (s GroupSet) Has(group string) bool {
	return s.exact[group] || slices.ContainsFunc(s.prefixes, func(p string) bool { return strings.HasPrefix(group, p) })
}

// Apply returns a new slice: the groups that may pass, sorted, each once.
func (f GroupFilter) Apply(groups []string) []string {
	kept := make([]string, 0, len(groups))
	for _, g := range groups {
		if f.Drop.Has(g) || !f.PassOn.empty() && !f.PassOn.Has(g) {
			continue
		}
		kept = append(kept, g)
	}
	slices.Sort(kept)
	return slices.Compact(kept)
}

// FilterGlobalUser makes a global authenticator's identity ready to forward: checked as
// the shard will read it, marked as authenticated, its groups filtered.
func (f GroupFilter) FilterGlobalUser(u user.Info) (user.Info, error) {
	if err := Check(u); err != nil {
		return nil, err
	}
	groups := u.GetGroups()
	if u.GetName() != user.Anonymous {
		groups = append(slices.Clip(groups), user.AllAuthenticated)
	}
	return &user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: f.Apply(groups), Extra: u.GetExtra()}, nil
}
