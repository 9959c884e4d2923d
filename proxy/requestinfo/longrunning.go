package requestinfo

import (
	"net/http"
	"net/url"
	"strings"
)

// LongRunning says whether an API server takes a request for one that may last as
// long as it likes, which it neither counts nor limits in time: a watch on a
// collection, the old forms that have watch or proxy in the path, the subresources
// that are streams, and profiles. It is kube-apiserver's
// BasicLongRunningRequestCheck on apiserver's RequestInfo.
//
// The path is what follows the logical cluster, still escaped; query is the raw one.
func LongRunning(method, path, query string) bool {
	if strings.IndexByte(path, '%') >= 0 {
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return false // no server takes it
		}
		path = decoded
	}
	r := read(path)
	switch {
	case !r.resource:
		return strings.HasPrefix(path, "/debug/pprof/")
	case r.verb != "":
		return r.kind // without one it is an error
	case streamSubresource(r.subresource):
		return true
	case method != http.MethodGet && method != http.MethodHead:
		return false
	}
	return r.name == "" && Flag(query, "watch")
}

func streamSubresource(s string) bool {
	switch s {
	case "attach", "exec", "proxy", "log", "portforward":
		return true
	}
	return false
}

// resourcePath is what a path says of an API resource.
type resourcePath struct {
	resource bool   // it is one's at all
	kind     bool   // something follows the version, and the verb
	verb     string // that the path has itself: watch, proxy, or none
	name     string
	// subresource is none where the verb is proxy: then the rest is the other server's.
	subresource string
}

// read is RequestInfoFactory.NewRequestInfo for the prefixes /api and /apis.
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

// Flag says whether a query sets a flag, as apimachinery reads it
// (Convert_Slice_string_To_bool): its first value counts, any but "0" and
// "false", none included.
func Flag(query, flag string) bool {
	value, ok := parameter(query, flag)
	return ok && value != "0" && !strings.EqualFold(value, "false")
}

// First is the first value that a query has for a key; "" when it has none.
func First(query, key string) string {
	value, _ := parameter(query, key)
	return value
}

// parameter is First, and whether there is one. Pairs that url.ParseQuery leaves out are
// left out.
func parameter(query, wanted string) (value string, ok bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if strings.IndexByte(pair, ';') >= 0 || len(key) < len(wanted) {
			continue
		}
		if strings.IndexByte(pair, '%') >= 0 || strings.IndexByte(pair, '+') >= 0 {
			var err error
			if key, err = url.QueryUnescape(key); err != nil {
				continue
			}
			if value, err = url.QueryUnescape(value); err != nil {
				continue
			}
		}
		if key == wanted {
			return value, true
		}
	}
	return "", false
}
