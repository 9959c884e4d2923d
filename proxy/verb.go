package proxy

import (
	"net/http"
	"strings"

	"frontproxy/lookup"
	"frontproxy/proxy/requestinfo"
)

// verb is what a request does, as Kubernetes names it: a small fixed set, for
// it is a metric's label.
type verb uint8

const (
	verbOther verb = iota
	verbGet
	verbList
	verbWatch
	verbCreate
	verbUpdate
	verbPatch
	verbDelete
	verbDeleteCollection
	verbConnect
	// Of requests that are for no resource: their method.
	verbHead
	verbPost
	verbPut
	verbOptions
	verbs // how many there are
)

// String is the label's value.
func (v verb) String() string {
	return [verbs]string{"other", "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "connect",
		"head", "post", "put", "options"}[v]
}

// verbOf reads a request whose path below the cluster is path, still escaped.
// It only counts: nothing is decided by it.
func verbOf(method, path, query string, upgrade bool) verb {
	if upgrade {
		return verbConnect
	}
	resource, named := resourceOf(path)
	if !resource {
		switch method {
		case http.MethodGet:
			return verbGet
		case http.MethodHead:
			return verbHead
		case http.MethodPost:
			return verbPost
		case http.MethodPut:
			return verbPut
		case http.MethodPatch:
			return verbPatch
		case http.MethodDelete:
			return verbDelete
		case http.MethodOptions:
			return verbOptions
		}
		return verbOther
	}
	switch method {
	case http.MethodGet, http.MethodHead:
		switch {
		case isDeprecatedWatchPath(path):
			return verbWatch
		case named:
			return verbGet
		case requestinfo.Flag(query, "watch"):
			return verbWatch
		}
		return verbList
	case http.MethodPost:
		return verbCreate
	case http.MethodPut:
		return verbUpdate
	case http.MethodPatch:
		return verbPatch
	case http.MethodDelete:
		if named {
			return verbDelete
		}
		return verbDeleteCollection
	}
	return verbOther
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
