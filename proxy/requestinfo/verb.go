package requestinfo

import "net/http"

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

// VerbOf reads a request whose path below the cluster is path, still escaped, as apiserver's
// RequestInfo does. Nobody's access is decided by it.
func VerbOf(method, path, query string, upgrade bool) Verb {
	if upgrade {
		return Connect
	}
	path, ok := decode(path)
	if !ok {
		return methodVerb(method)
	}
	r := read(path)
	switch {
	case !r.resource || !r.kind:
		return methodVerb(method)
	case r.verb == "watch":
		return Watch
	case r.verb == "proxy":
		return Connect
	}
	switch method {
	case http.MethodGet, http.MethodHead:
		switch {
		case r.name != "":
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
		if r.name != "" {
			return Delete
		}
		return DeleteCollection
	}
	return Other
}

// methodVerb is the verb of a request that is for no resource.
func methodVerb(method string) Verb {
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
