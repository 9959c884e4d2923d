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
	path, ok := decode(path)
	if !ok {
		return false // no server takes it
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
