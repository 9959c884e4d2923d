package requestinfo

import (
	"net/http"
	"strings"

	"frontproxy/lookup"
)

// Verb is what a request does, as Kubernetes names it. There are few, for it is a
// metric's label.
type Verb uint8

// The verbs. The last four, and those that are methods' names as well, are also of
// requests that are for no resource: their method.
const (
	Other Verb = iota
	Get
	List
	Watch
	Create
	Update
	Patch
	Delete
	DeleteCollection
	Connect
	Head
	Post
	Put
	Options
	verbs // how many there are
)

// String is the verb in lower case.
func (v Verb) String() string {
	return [verbs]string{"other", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "connect",
		"head", "post", "put", "options"}[v]
}

// VerbOf reads a request whose path below the cluster is path, still escaped.
// It only counts: nothing is decided by it.
func VerbOf(method, path, query string, upgrade bool) Verb {
	if upgrade {
		return Connect
	}
	resource, named := resourceOf(path)
	if !resource {
		switch method {
		case http.MethodGet:
			return Get
		case http.MethodHead:
			return Head
		case http.MethodPost:
			return Post
		case http.MethodPut:
			return Put
		case http.MethodPatch:
			return Patch
		case http.MethodDelete:
			return Delete
		case http.MethodOptions:
			return Options
		}
		return Other
	}
	switch method {
	case http.MethodGet, http.MethodHead:
		switch {
		case isDeprecatedWatchPath(path):
			return Watch
		case named:
			return Get
		case Flag(query, "watch"):
			return Watch
		}
		return List
	case http.MethodPost:
		return Create
	case http.MethodPut:
		return Update
	case http.MethodPatch:
		return Patch
	case http.MethodDelete:
		if named {
			return Delete
		}
		return DeleteCollection
	}
	return Other
}

// resourceOf says whether a path is an API resource's (/api/<version>/… or
// /apis/<group>/<version>/…), and whether it names one object.
func resourceOf(path string) (resource, named bool) {
	first, rest := segment(path)
	switch first {
	case "apis":
		_, rest = segment(rest)
	case "api":
	default:
		return false, false
	}
	_, rest = segment(rest) // the version
	kind, rest := segment(rest)
	if kind == "watch" { // the old form
		kind, rest = segment(rest)
	}
	name, rest := segment(rest)
	if kind == "namespaces" && name != "" {
		if inside, after := segment(rest); inside != "" && !ofNamespace(inside) {
			name, _ = segment(after)
		}
	}
	return kind != "", name != ""
}

// ofNamespace are the subresources of namespaces themselves.
func ofNamespace(s string) bool { return s == "status" || s == "finalize" }

// segment is lookup.Segment for paths that may have ended.
func segment(path string) (first, rest string) {
	if !strings.HasPrefix(path, "/") {
		return "", ""
	}
	return lookup.Segment(path)
}
