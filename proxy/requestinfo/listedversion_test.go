package requestinfo

import (
	"net/http"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/storage"
)

func TestListedVersion(t *testing.T) {
	token := func(version int64) string {
		s, err := storage.EncodeContinue("/registry/configmaps/default/a", "/registry/configmaps/", version)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const list = "/api/v1/configmaps"
	for name, tc := range map[string]struct {
		method, path, query string
		want                uint64
	}{
		"a list":                       {"", list, "resourceVersion=12", 12},
		"a watch":                      {"", list, "watch=true&resourceVersion=12&timeoutSeconds=400", 12},
		"a streamed list":              {"", "/apis/apps/v1/deployments", "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=12", 12},
		"in a namespace":               {"", "/api/v1/namespaces/a/configmaps", "resourceVersion=12", 12},
		"of namespaces":                {"", "/api/v1/namespaces", "resourceVersion=12", 12},
		"HEAD":                         {http.MethodHead, list, "resourceVersion=12", 12},
		"a slash at the end":           {"", list + "/", "resourceVersion=12", 12},
		"an old watch":                 {"", "/api/v1/watch/configmaps", "resourceVersion=12", 12},
		"an old watch of one object":   {"", "/api/v1/watch/namespaces/a/configmaps/b", "resourceVersion=12", 12},
		"an escaped path":              {"", "/%61pi/v1/config%6daps", "resourceVersion=12", 12},
		"an escaped key":               {"", list, "resource%56ersion=%312", 12},
		"the first value counts":       {"", list, "resourceVersion=12&resourceVersion=13", 12},
		"any state":                    {"", list, "resourceVersion=0", 0},
		"the newest state":             {"", list, "resourceVersion=", 0},
		"no version":                   {"", list, "watch=true", 0},
		"no number":                    {"", list, "resourceVersion=x12", 0},
		"too large":                    {"", list, "resourceVersion=99999999999999999999", 0},
		"a pair that no server reads":  {"", list, "resourceVersion=12;a", 0},
		"another key":                  {"", list, "resourceVersionMatch=12&xresourceVersion=12", 0},
		"one object":                   {"", list + "/a", "resourceVersion=12", 0},
		"one object, watched":          {"", "/api/v1/namespaces/a/configmaps/b", "watch=true&resourceVersion=12", 0},
		"a namespace":                  {"", "/api/v1/namespaces/a", "resourceVersion=12", 0},
		"another server's":             {"", "/api/v1/proxy/nodes/a", "resourceVersion=12", 0},
		"discovery":                    {"", "/api/v1", "resourceVersion=12", 0},
		"no API":                       {"", "/version", "resourceVersion=12", 0},
		"a broken escape":              {"", list + "%z", "resourceVersion=12", 0},
		"a write":                      {http.MethodPost, list, "resourceVersion=12", 0},
		"a deletion":                   {http.MethodDelete, list, "resourceVersion=12", 0},
		"a page":                       {"", list, "limit=5&continue=" + token(12), 12},
		"a page, and a version":        {"", list, "resourceVersion=0&continue=" + token(12), 12},
		"a page of any state":          {"", list, "continue=" + token(-1), 0},
		"a page that is not base64":    {"", list, "resourceVersion=12&continue=!", 0},
		"a page that is not apiserver": {"", list, "continue=e30", 0},
		"a page that is too long":      {"", list, "continue=" + strings.Repeat("a", maxContinue+1), 0},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.method == "" {
				tc.method = http.MethodGet
			}
			if got := ListedVersion(tc.method, tc.path, tc.query); got != tc.want {
				t.Errorf("version %d, want %d", got, tc.want)
			}
		})
	}
}
