package requestinfo

import (
	"net/http"
	"testing"
)

func TestCollection(t *testing.T) {
	for path, want := range map[string][2]string{
		"/api/v1/configmaps":                       {"configmaps", "/api/v1/configmaps"},
		"/api/v1/configmaps/":                      {"configmaps", "/api/v1/configmaps/"},
		"/api/v1/namespaces":                       {"namespaces", "/api/v1/namespaces"},
		"/api/v1/namespaces/a/configmaps":          {"configmaps", "/api/v1/namespaces/a/configmaps"},
		"/apis/g.io/v1/things":                     {"things.g.io", "/apis/g.io/v1/things"},
		"/apis/g.io/v2/namespaces/a/things":        {"things.g.io", "/apis/g.io/v2/namespaces/a/things"},
		"/api/v1/configm%61ps":                     {"configmaps", "/api/v1/configm%61ps"},
		"/api/v1/watch/configmaps":                 {"configmaps", "/api/v1/configmaps"},
		"/api/v1/watch/namespaces":                 {"namespaces", "/api/v1/namespaces"},
		"/api/v1/watch/namespaces/a":               {"namespaces", "/api/v1/namespaces"},
		"/apis/g.io/v1/watch/things/b":             {"things.g.io", "/apis/g.io/v1/things"},
		"/apis/g.io/v1/watch/namespaces/a/things":  {"things.g.io", "/apis/g.io/v1/namespaces/a/things"},
		"/api/v1/watch/namespaces/%3F/configmaps/": {"configmaps", "/api/v1/namespaces/%3F/configmaps"},
		"/api/v1/watch/namespaces/a/configmaps/b":  {"configmaps", "/api/v1/namespaces/a/configmaps"},
	} {
		resource, list := Collection(path)
		if got := [2]string{resource, list}; got != want {
			t.Errorf("Collection(%q) is %q, want %q", path, got, want)
		}
	}
}

// FuzzCollection: whatever is listed has a resource, and its collection is one, of the same
// resource.
func FuzzCollection(f *testing.F) {
	for _, path := range []string{"/api/v1/configmaps", "//apis//v1/watch/pods//", "/api/v1/watch/namespaces/a/configmaps/b", "/api%2Fv1/pods", "/apis/g/v1/namespaces//things", "/api/v1/watch/watch/x"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		resource, list := Collection(path)
		if ListedVersion(http.MethodGet, path, "resourceVersion=1") == 0 {
			return
		}
		if again, same := Collection(list); again != resource || same != list && same == path {
			t.Errorf("Collection(%q) is %q, %q, and of that %q, %q", path, resource, list, again, same)
		}
	})
}
