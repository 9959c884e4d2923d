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
	e, err := m.find(path)
	if e == nil || err != nil {
		return entryMatch{}, err
	}
	return m.findCluster(e, path)
}

// find finds the mapping alone; nil when there is none.
func (m *Mappings) find(path string) (*Mapping, error) {
	if !noSegmentsLeft(path) { // the first segment always decides
		first, _ := lookup.Segment(path)
		if _, err := lookup.DecodeSegment(first); err != nil {
			return nil, err
		}
	}
	for _, e := range m.entries {
		if ok, err := e.matches(path); ok || err != nil {
			return e, err
		}
	}
	return nil, nil
}

// findCluster finds the cluster that a matched path names. What follows the segments that were
// matched must stay below them (lookup.Stays). For a shard's path, which may lead to a mount,
// that is checked later.
func (m *Mappings) findCluster(e *Mapping, path string) (entryMatch, error) {
	r := entryMatch{mapping: e, path: path}
	var err error
	switch segment, below := e.split(path); {
	case !m.shards:
		return r, lookup.Stays(below) // no index is asked
	case e.Shards:
		r.path = below
		r.cluster, err = lookup.DecodeCluster(segment)
		return r, err
	case segment != "":
		if r.cluster, err = lookup.DecodeCluster(segment); err == nil {
			err = lookup.Stays(below)
		}
	default:
		r.cluster, _, err = lookup.FindClusterAnywhere(path)
	}
	if r.cluster == lookup.Wildcard {
		r.cluster = ""
	}
	return r, err
}

// matches reports whether the pattern matches the path's first segments. Only segments that
// decide that are decoded.
func (e *Mapping) matches(path string) (bool, error) {
	for _, want := range e.pattern {
		if noSegmentsLeft(path) {
			return false, nil
		}
		var segment string
		segment, path = lookup.Segment(path)
		got, err := lookup.DecodeSegment(segment)
		if err != nil {
			return false, err
		}
		if !placeholder(want) && got != want {
			return false, nil
		}
	}
	return true, nil
}

// split cuts a path that the pattern matches: it returns the segment for the placeholder
// {cluster}, as it came, if the pattern has one, and what follows the pattern.
func (e *Mapping) split(path string) (cluster, below string) {
	for _, want := range e.pattern {
		var segment string
		if segment, path = lookup.Segment(path); want == "{cluster}" {
			cluster = segment
		}
	}
	return cluster, path
}

// noSegmentsLeft reports whether no segment is left. A slash at the end begins none.
func noSegmentsLeft(path string) bool { return path == "" || path == "/" }

func placeholder(segment string) bool { return strings.HasPrefix(segment, "{") }

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
