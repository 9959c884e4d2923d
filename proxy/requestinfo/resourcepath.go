package requestinfo

import (
	"net/url"
	"strings"
)

// resourcePath is what a path says of an API resource.
type resourcePath struct {
	resource bool   // it is one's at all
	kind     bool   // something follows the version, and the verb
	verb     string // that the path has itself: watch, proxy, or none
	name     string
	// subresource is none where the verb is proxy: then the rest is the other server's.
	subresource string
}

// decode decodes an escaped path as a whole, as servers do before they split it; false: it
// can't be decoded.
func decode(path string) (string, bool) {
	if strings.IndexByte(path, '%') < 0 {
		return path, true
	}
	decoded, err := url.PathUnescape(path)
	return decoded, err == nil
}

// read is RequestInfoFactory.NewRequestInfo for the prefixes /api and /apis. The path is
// decoded.
func read(path string) resourcePath {
	parts := segments(strings.Trim(path, "/"))
	first, _ := parts.next()
	switch {
	case first == "apis" && parts.count(3): // group, version, and more
		parts.next()
	case first == "api" && parts.count(2):
	default:
		return resourcePath{}
	}
	parts.next() // the version
	r := resourcePath{resource: true}
	kind, ok := parts.next()
	if kind == "watch" || kind == "proxy" {
		r.verb = kind
		kind, ok = parts.next()
	}
	r.kind = ok
	r.name, _ = parts.next()
	if kind == "namespaces" {
		if inside, ok := parts.peek(); ok && inside != "status" && inside != "finalize" {
			parts.next() // a resource in that namespace
			r.name, _ = parts.next()
		}
	}
	if r.verb != "proxy" {
		r.subresource, _ = parts.next()
	}
	return r
}

// cursor is what is left of a path without slashes at its ends. Two slashes
// have an empty segment between them.
type cursor struct {
	rest string
	end  bool
}

func segments(path string) *cursor { return &cursor{path, path == ""} }

func (c *cursor) next() (segment string, ok bool) {
	if c.end {
		return "", false
	}
	segment, c.rest, ok = strings.Cut(c.rest, "/")
	c.end = !ok
	return segment, true
}

func (c *cursor) peek() (segment string, ok bool) {
	ahead := *c
	return ahead.next()
}

// count says whether at least n segments are left.
func (c *cursor) count(n int) bool {
	return !c.end && strings.Count(c.rest, "/") >= n-1
}
