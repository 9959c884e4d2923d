package jwt

import "slices"

// stringSet is a list of texts that others are looked up in.
type stringSet struct {
	list []string
	has  map[string]struct{}
}

func newStringSet(list []string) stringSet {
	s := stringSet{list: list, has: make(map[string]struct{}, len(list))}
	for _, text := range list {
		s.has[text] = struct{}{}
	}
	return s
}

// hasAny takes time that grows with the texts and not with the set.
func (s stringSet) hasAny(texts []string) bool {
	return slices.ContainsFunc(texts, func(text string) bool { _, ok := s.has[text]; return ok })
}
