package routing

import (
	"fmt"
	"strings"

	"frontproxy/lookup"
)

// maxDepth bounds the segments of a pattern.
const maxDepth = 8

// entryMatch is what the mapping file says about a path.
type entryMatch struct {
	mapping *Mapping // nil: no mapping matches
	// cluster is what the path names, not yet validated; "" when it names none,
	// or all of them.
	cluster string
	// path is what the upstream gets behind its base: for shards what follows
	// the cluster.
	path string
}

// match finds the mapping of an escaped path and the cluster the path names.
// The error wraps lookup.ErrAmbiguous.
func (m *Mappings) match(path string) (entryMatch, error) {
	s := segments{rest: path}
	e, err := m.find(&s)
	if e == nil || err != nil {
		return entryMatch{}, err
	}
	return m.cluster(e, &s, path)
}

// find finds the mapping alone; nil when there is none.
func (m *Mappings) find(s *segments) (*Mapping, error) {
	if _, ok, err := s.at(0); ok && err != nil {
		return nil, err // the first segment always decides
	}
	for _, e := range m.entries {
		if ok, err := e.matches(s); ok || err != nil {
			return e, err
		}
	}
	return nil, nil
}

// cluster finds the cluster that a matched path names. What follows the segments that were
// matched must stay below them (lookup.Stays). For a shard's path, which may lead to a mount,
// that is checked later.
func (m *Mappings) cluster(e *Mapping, s *segments, path string) (entryMatch, error) {
	r := entryMatch{mapping: e, path: path}
	var err error
	switch placeholder := e.clusterAt(); {
	case !m.shards:
		return r, lookup.Stays(e.below(s, path)) // no index is asked
	case placeholder >= 0:
		if r.cluster, err = lookup.Cluster(s.raw[placeholder]); err == nil && !e.Shards {
			err = lookup.Stays(e.below(s, path))
		}
	default:
		r.cluster, _, err = lookup.ClusterInPath(path)
	}
	if e.Shards {
		r.path = s.after[1]
		return r, err
	}
	if r.cluster == lookup.Wildcard {
		r.cluster = ""
	}
	return r, err
}

// below is what follows the pattern in a path that it matches.
func (e *Mapping) below(s *segments, path string) string {
	if len(e.pattern) == 0 {
		return path
	}
	return s.after[len(e.pattern)-1]
}

// matches says whether the pattern matches the path's first segments.
func (e *Mapping) matches(s *segments) (bool, error) {
	for i, want := range e.pattern {
		got, ok, err := s.at(i)
		if !ok {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !placeholder(want) && got != want {
			return false, nil
		}
	}
	return true, nil
}

// clusterAt is the position of the placeholder {cluster}, or -1.
func (e *Mapping) clusterAt() int {
	for i, p := range e.pattern {
		if p == "{cluster}" {
			return i
		}
	}
	return -1
}

func placeholder(segment string) bool { return strings.HasPrefix(segment, "{") }

// segments splits a path only as far as needed, so that only segments that affect the match
// are checked.
type segments struct {
	rest  string
	n     int
	raw   [maxDepth]string
	plain [maxDepth]string
	after [maxDepth]string
	err   [maxDepth]error
}

// at returns segment i decoded; false when the path is shorter. A slash at the
// end begins no segment.
func (s *segments) at(i int) (string, bool, error) {
	for s.n <= i {
		if s.rest == "" || s.rest == "/" {
			return "", false, nil
		}
		s.raw[s.n], s.rest = lookup.Segment(s.rest)
		s.after[s.n] = s.rest
		s.plain[s.n], s.err[s.n] = lookup.DecodeSegment(s.raw[s.n])
		s.n++
	}
	return s.plain[i], true, s.err[i]
}

// order sorts the entries, more specific ones first, and returns an error for
// every two that match the same path without one being more specific.
func (m *Mappings) order() []error {
	var errs []error
	var ordered []*Mapping
	for _, e := range m.entries {
		if len(e.pattern) > maxDepth {
			errs = append(errs, fmt.Errorf("%s: the path has more than %d segments", e.name(), maxDepth))
			continue
		}
		m.depth = max(m.depth, len(e.pattern))
		m.shards = m.shards || e.Shards
		at := len(ordered)
		for i, other := range ordered {
			switch compare(e.pattern, other.pattern) {
			case same:
				errs = append(errs, fmt.Errorf("%s and %s match the same paths; remove one", other.name(), e.name()))
			case ambiguous:
				errs = append(errs, fmt.Errorf("%s and %s both match some paths and neither is more specific; change one", other.name(), e.name()))
			case moreSpecific:
				at = min(at, i)
			case lessSpecific, disjoint:
			}
		}
		ordered = append(ordered[:at], append([]*Mapping{e}, ordered[at:]...)...)
	}
	m.entries = ordered
	return errs
}

func (e *Mapping) name() string {
	return fmt.Sprintf("entry %d (path %q, line %d)", e.index, e.Path, e.line)
}

// relation is how the paths that one pattern matches relate to another's.
type relation int

const (
	same relation = iota
	disjoint
	moreSpecific
	lessSpecific
	ambiguous
)

// compare relates two patterns by the rules of net/http: a literal is more
// specific than a placeholder, a longer path than a shorter one.
func compare(a, b []string) relation {
	r := same
	add := func(next relation) {
		switch r {
		case same:
			r = next
		case next:
		default:
			r = ambiguous
		}
	}
	for i := range min(len(a), len(b)) {
		switch pa, pb := placeholder(a[i]), placeholder(b[i]); {
		case !pa && !pb && a[i] != b[i]:
			return disjoint
		case pa && !pb:
			add(lessSpecific)
		case !pa && pb:
			add(moreSpecific)
		}
	}
	switch {
	case len(a) > len(b):
		add(moreSpecific)
	case len(a) < len(b):
		add(lessSpecific)
	}
	return r
}
