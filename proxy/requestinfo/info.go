package requestinfo

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/filters"
)

var (
	factory = &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	// longRunning has what kube-apiserver and kcp give it.
	longRunning = filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
)

// Of reads a request as an API server does, without selectors. The path is what follows the
// logical cluster, still escaped; query is the raw one. A request that API servers cannot read is
// for no resource.
func Of(method, path, query string) *request.RequestInfo {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return &request.RequestInfo{Path: path, Verb: methodVerb(method)}
	}
	u := &url.URL{Path: decoded}
	if flag(query, "watch") { // the factory logs queries that it cannot read, so it gets no more than this
		u.RawQuery = "watch=1"
	}
	info, err := factory.NewRequestInfo(&http.Request{Method: method, URL: u})
	if err != nil || !info.IsResourceRequest {
		info.IsResourceRequest, info.Verb = false, methodVerb(method)
	}
	return info
}

// methodVerb is the verb of a request that is for no resource: a method called WATCH makes no
// watch.
func methodVerb(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return strings.ToLower(method)
	}
	return ""
}

// LongRunning reports whether an API server takes a request for one that may last as long as it
// likes, which it neither counts nor limits in time.
func LongRunning(info *request.RequestInfo) bool { return longRunning(nil, info) }

// Verb is what a request does, as Kubernetes names it, or its method if it is for no resource.
// There are few, for it is a metric's label. Nobody's access is decided by it.
func Verb(info *request.RequestInfo, upgrade bool) string {
	if upgrade || info.Verb == "proxy" {
		return "connect"
	}
	return cmp.Or(info.Verb, "other")
}

// Streaming reports whether a request looks as if it asked for an answer without an end: a watch
// (the old form has it in the path), or logs that are followed. That is good enough to choose a
// connection by, and for nothing else: LongRunning is exact.
func Streaming(path, query string) bool {
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	return strings.Contains(path, "/watch/") || flag(query, "watch") || flag(query, "follow")
}

// First is the first value that a raw query has for a key; "" when it has none.
func First(query, key string) string {
	values, _ := url.ParseQuery(query) // as (*url.URL).Query does
	return values.Get(key)
}

// flag reports whether a query sets a flag.
func flag(query, name string) (set bool) {
	if query == "" {
		return false
	}
	values, _ := url.ParseQuery(query)
	in := values[name]
	_ = runtime.Convert_Slice_string_To_bool(&in, &set, nil) // never fails
	return set
}

// CheckFraming returns an error, which the client may read, for a request that says
// twice how long it is. HTTP/1.1 ones do not get this far; net/http's HTTP/2 takes the
// first and goes on (RFC 9113, section 8.1.1 calls it malformed).
func CheckFraming(r *http.Request) error {
	if len(r.Header["Content-Length"]) > 1 {
		return errTwoLengths
	}
	return nil
}

var errTwoLengths = errors.New("the request has more than one content-length")

// upgrades are the protocols that a connection may be switched to. Any other,
// h2c above all, would be a tunnel in which requests pass unjudged.
var upgrades = []string{"websocket", "SPDY/3.1"}

// Upgrade reports whether a request asks for an upgrade. The error, which the client may
// read, is that the upgrade it asks for is not served.
func Upgrade(r *http.Request) (bool, error) {
	values, ok := r.Header["Upgrade"]
	if !ok {
		return false, nil
	}
	if len(values) == 1 && r.ProtoMajor == 1 && slices.ContainsFunc(upgrades, func(p string) bool { return strings.EqualFold(p, values[0]) }) {
		return true, nil
	}
	return false, errUpgrade
}

var errUpgrade = errors.New("upgrade refused: only " + strings.Join(upgrades, " and ") + " are served, one at a time")
