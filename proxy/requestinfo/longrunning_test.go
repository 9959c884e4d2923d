package requestinfo

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
)

// apiserver is what an API server makes of a request; false: it refuses it.
func apiserver(method, path, query string) (long, ok bool) {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return false, false
	}
	r := &http.Request{Method: method, URL: &url.URL{Path: decoded, RawQuery: query}}
	info, err := factory.NewRequestInfo(r)
	if err != nil {
		return false, true // 500, at once
	}
	return longRunning(r, info), true
}

func TestLongRunning(t *testing.T) {
	for target, want := range map[string]bool{
		"GET /api/v1/pods":                                           false,
		"GET /api/v1/pods?watch=true":                                true,
		"HEAD /api/v1/pods?watch=true":                               true,
		"GET /api/v1/pods?watch=false":                               false,
		"GET /api/v1/pods?watch=0&watch=1":                           false,
		"GET /api/v1/pods/?watch=1":                                  true,
		"GET /api/v1/pod%73?w%61tch":                                 true,
		"GET /api/v1/pods/one?watch=1":                               false,
		"GET /api/v1//?watch=1":                                      false,
		"GET /api/v1/pods?watch=1&fieldSelector=metadata.name%3Done": true,
		"GET /api/v1/namespaces?watch=1":                             true,
		"GET /api/v1/namespaces/a?watch=1":                           false,
		"GET /api/v1/namespaces/a/status?watch=1":                    false,
		"GET /api/v1/namespaces/a/pods?watch=1":                      true,
		"GET /api/v1/namespaces/a/pods/b?watch=1":                    false,
		"GET /apis/g/v1/things?watch=1":                              true,
		"GET /apis/g/v1/namespaces/a/things/b?watch=1":               false,
		"GET /apis/g/v1?watch=1":                                     false,
		"GET /api/v1?watch=1":                                        false,
		"GET /healthz?watch=1":                                       false,
		"GET /clusters/a/api/v1/pods?watch=1":                        false,
		"POST /api/v1/pods?watch=true":                               false,
		"GET /api/v1/watch/pods":                                     true,
		"GET /api/v1/watch/namespaces/a/pods/b":                      true,
		"DELETE /api/v1/watch/pods":                                  true,
		"GET /api/v1/watch":                                          false,
		"GET /api/v1/namespaces/watch/pods":                          false,
		"GET /api/v1/namespaces/a/pods/b/log":                        true,
		"GET /api/v1/namespaces/a/pods/b/log?follow=1":               true,
		"GET /api/v1/pods?follow=1":                                  false,
		"POST /api/v1/namespaces/a/pods/b/exec":                      true,
		"POST /api/v1/namespaces/a/pods/b/attach":                    true,
		"POST /api/v1/namespaces/a/pods/b/portforward":               true,
		"PUT /api/v1/namespaces/a/services/b/proxy/x/y":              true,
		"GET /api/v1/namespaces/a/services/b/proxied":                false,
		"GET /api/v1/proxy/namespaces/a/services/b":                  true,
		"GET /api/v1/namespaces/a/pods/b%2Flog":                      true, // a server decodes before it splits
		"GET /debug/pprof/profile":                                   true,
		"GET /debug/pprof":                                           false,
		"GET /exec":                                                  false,
		"GET /":                                                      false,
	} {
		method, rest, _ := strings.Cut(target, " ")
		path, query, _ := strings.Cut(rest, "?")
		if got := LongRunning(Of(method, path, query)); got != want {
			t.Errorf("%s: %t", target, got)
		}
		if theirs, ok := apiserver(method, path, query); !ok || theirs != want {
			t.Errorf("%s: an API server says %t, %t", target, theirs, ok)
		}
	}
}

// FuzzLongRunning compares it with apiserver's own code.
func FuzzLongRunning(f *testing.F) {
	for _, path := range []string{"/api/v1/pods", "//api//v1/watch/pods//", "/apis/g/v1/namespaces/a/things/b/log", "/api/v1/proxy/x/y/z", "/api/v1/namespaces//watch", "/debug/pprof/x", "/api/v1/namespaces/a/finalize/exec", "/api%2Fv1/pods"} {
		for _, query := range []string{"", "watch=1", "watch=0", "watch", "limit=x&watch=1", "fieldSelector=metadata.name%3Da&watch=1", "fieldSelector=%3D%3D&watch=true"} {
			f.Add("GET", path, query)
			f.Add("POST", path, query)
		}
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		if method == "" || method != strings.ToUpper(method) {
			t.Skip() // no HTTP method that a server knows
		}
		if want, ok := apiserver(method, path, query); ok && LongRunning(Of(method, path, query)) != want {
			t.Errorf("%s %q ? %q: %t, an API server says %t", method, path, query, !want, want)
		}
	})
}

// FuzzFlag compares it with the way an API server reads a query.
func FuzzFlag(f *testing.F) {
	for _, q := range []string{"watch", "watch=1&watch=0", "w%61tch=%31", "a=%zz&watch=true", "watch=1;b", "&=&watch", "wat+ch=1", "%77atch%", "watch=1+"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, _ := url.ParseQuery(query) // as (*url.URL).Query does
		in := values["watch"]
		var want bool
		if err := runtime.Convert_Slice_string_To_bool(&in, &want, nil); err != nil {
			t.Fatal(err)
		}
		if got := flag(query, "watch"); got != want {
			t.Errorf("flag(%q) is %v", query, got)
		}
	})
}
