package requestinfo

import (
	"net/url"
	"strings"
)

// Collection says what a path for which ListedVersion is not 0 lists or watches: the
// resource, as "resource.group" and "resource" for the core group, which is the same in all
// versions and namespaces; and the path, escaped, of the collection. That path is the given
// one, except for watches in the old form, where it lacks the watch and an object's name.
//
// The path is what follows the logical cluster, still escaped.
func Collection(path string) (resource, list string) {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return "", path
	}
	parts := strings.Split(strings.Trim(decoded, "/"), "/")
	head, group := 2, ""
	if parts[0] == "apis" && len(parts) > 1 {
		head, group = 3, "."+parts[1]
	}
	if len(parts) <= head {
		return "", path
	}
	api, rest := parts[:head], parts[head:]
	old := rest[0] == "watch" && len(rest) > 1
	if old {
		rest = rest[1:]
	}
	if rest[0] == "namespaces" && len(rest) > 2 {
		rest = rest[:3]
	} else {
		rest = rest[:1]
	}
	if old {
		u := url.URL{Path: "/" + strings.Join(append(api, rest...), "/")}
		path = u.EscapedPath()
	}
	return rest[len(rest)-1] + group, path
}
