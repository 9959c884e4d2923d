package proxy

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoadMappings(t *testing.T) {
	w := newWorld(t)
	const tls = "\n  backend_server_ca: DIR/ca.crt\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n"
	entry := func(fields string) string { return "- " + fields + tls }
	w.write(t, "empty.crt", nil)
	otherCert, _ := w.clients.issue(t, "other")
	w.write(t, "other.crt", otherCert)
	for _, tt := range []struct {
		name, yaml string
		errors     []string // parts of the error; empty: it loads
	}{
		{name: "usual", yaml: entry("path: /clusters/\n  backend: https://a:1") + entry("path: /services/\n  backend: https://a:1/base/") + entry("path: /\n  backend: https://b")},
		{name: "shards without a backend", yaml: entry("path: /clusters/")},
		{name: "JSON", yaml: `[{"path": "/clusters/", "backend": "https://a", "backend_server_ca": "DIR/ca.crt", "proxy_client_cert": "DIR/client.crt", "proxy_client_key": "DIR/client.key"}]`},
		{name: "ours", yaml: entry("path: /x/{cluster}/\n  backend: https://a\n  uid_header: X-Id\n  authentication: pass-through")},
		{name: "pass-through without a certificate", yaml: "- path: /x/\n  backend: https://a\n  authentication: pass-through\n  backend_server_ca: DIR/ca.crt\n"},
		{name: "not YAML", yaml: "- path: [", errors: []string{"mapping.yaml is no YAML"}},
		{name: "empty", yaml: "", errors: []string{"must be a YAML list"}},
		{name: "no list", yaml: "path: /", errors: []string{"must be a YAML list"}},
		{name: "no mapping", yaml: "- x", errors: []string{"entry 1", "must be a mapping"}},
		{name: "unknown key", yaml: entry("path: /x/\n  backend: https://a\n  backnd: y"), errors: []string{`entry 1 (path "/x/", line 1)`, `line 3: unknown key "backnd"`}},
		{name: "key twice", yaml: entry("path: /x/\n  backend: https://a\n  backend: https://b"), errors: []string{"backend"}},
		{name: "number", yaml: entry("path: 7\n  backend: https://a"), errors: []string{"line 1: path must be a string"}},
		{name: "relative path", yaml: entry("path: x\n  backend: https://a"), errors: []string{"path: must begin with a slash"}},
		{name: "dot segment", yaml: entry("path: /a/../b\n  backend: https://a"), errors: []string{"dot segment"}},
		{name: "half a placeholder", yaml: entry("path: /a{b}/\n  backend: https://a"), errors: []string{"placeholder is a whole segment"}},
		{name: "rest placeholder", yaml: entry("path: /a/{b...}\n  backend: https://a"), errors: []string{"all below the path matches anyway"}},
		{name: "placeholder twice", yaml: entry("path: /{a}/{a}\n  backend: https://a"), errors: []string{"there twice"}},
		{name: "plain http", yaml: entry("path: /x\n  backend: http://a"), errors: []string{"must be https"}},
		{name: "no backend", yaml: entry("path: /x"), errors: []string{"backend is missing"}},
		{name: "query in backend", yaml: entry("path: /x\n  backend: https://a?b"), errors: []string{"query"}},
		{name: "header name", yaml: entry("path: /x\n  backend: https://a\n  user_header: 'X Y'"), errors: []string{"user_header", "no header name"}},
		{name: "reserved header", yaml: entry("path: /x\n  backend: https://a\n  user_header: authorization"), errors: []string{"meaning of its own"}},
		{name: "same header", yaml: entry("path: /x\n  backend: https://a\n  user_header: X_A\n  group_header: x-a"), errors: []string{"user_header and group_header are the same"}},
		{name: "header in prefix", yaml: entry("path: /x\n  backend: https://a\n  extra_header_prefix: X-Remote-"), errors: []string{"would read it as an extra"}},
		{name: "authentication", yaml: entry("path: /x\n  backend: https://a\n  authentication: off"), errors: []string{`"off" is not known`}},
		{name: "no files", yaml: "- path: /x\n  backend: https://a\n", errors: []string{"backend_server_ca is missing", "proxy_client_cert is missing", "proxy_client_key is missing"}},
		{name: "file not there", yaml: "- path: /x\n  backend: https://a\n  backend_server_ca: DIR/nope\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n", errors: []string{"backend_server_ca: open", "nope"}},
		{name: "no certificate in CA", yaml: "- path: /x\n  backend: https://a\n  backend_server_ca: DIR/empty.crt\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n", errors: []string{"has no PEM certificate"}},
		{name: "no pair", yaml: "- path: /x\n  backend: https://a\n  backend_server_ca: DIR/ca.crt\n  proxy_client_cert: DIR/other.crt\n  proxy_client_key: DIR/client.key\n", errors: []string{"are no pair"}},
		{name: "duplicate", yaml: entry("path: /x\n  backend: https://a") + entry("path: /x/\n  backend: https://b"), errors: []string{`entry 1 (path "/x", line 1) and entry 2 (path "/x/", line 6) match the same paths`}},
		{name: "duplicate shards", yaml: entry("path: /clusters/") + entry("path: /clusters/{any}/\n  backend: https://b"), errors: []string{"match the same paths"}},
		{name: "ambiguous", yaml: entry("path: /a/{b}/c\n  backend: https://a") + entry("path: /a/x/\n  backend: https://b"), errors: []string{"entry 1", "entry 2", "neither is more specific"}},
		{name: "all at once", yaml: entry("path: x\n  backend: http://a") + entry("path: /y\n  backend: https://b\n  z: z"), errors: []string{"must begin with a slash", "must be https", "unknown key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadMappings("mapping.yaml", []byte(strings.ReplaceAll(tt.yaml, "DIR", w.dir)), os.ReadFile)
			if (err != nil) != (len(tt.errors) > 0) {
				t.Fatalf("error: %v", err)
			}
			for _, want := range tt.errors {
				if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mapping.yaml") {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestMatch(t *testing.T) {
	w := newWorld(t)
	var text strings.Builder
	for _, path := range []string{"/", "/services/", "/clusters/", "/services/{vw}/x", "/services/apiexport/x/", "/by/{cluster}", "/deep/{any}/special"} {
		text.WriteString("- path: " + path + "\n  backend: https://a" + tlsEntry)
	}
	m := w.mappings(t, text.String())
	type got struct {
		Mapping, Cluster, Path string
		Ambiguous              bool
	}
	for path, want := range map[string]got{
		"/":                         {Mapping: "/", Path: "/"},
		"/services":                 {Mapping: "/services/", Path: "/services"},
		"/services/":                {Mapping: "/services/", Path: "/services/"},
		"/servicesx":                {Mapping: "/", Path: "/servicesx"},
		"/%73ervices/y":             {Mapping: "/services/", Path: "/%73ervices/y"},
		"/services/y/x/z":           {Mapping: "/services/{vw}/x", Path: "/services/y/x/z"},
		"/services/apiexport/x":     {Mapping: "/services/apiexport/x/", Path: "/services/apiexport/x"},
		"/services/apiexport/y":     {Mapping: "/services/", Path: "/services/apiexport/y"},
		"/clusters":                 {Mapping: "/", Path: "/clusters"},
		"/clusters/":                {Mapping: "/", Path: "/clusters/"},
		"/clusters/root":            {Mapping: "/clusters/", Cluster: "root"},
		"/clusters/root/":           {Mapping: "/clusters/", Cluster: "root", Path: "/"},
		"/clusters/*/x":             {Mapping: "/clusters/", Cluster: "*", Path: "/x"},
		"/clusters/root/../a//b%2F": {Mapping: "/clusters/", Cluster: "root", Path: "/../a//b%2F"},
		"/by/root%3Aorg/x":          {Mapping: "/by/{cluster}", Cluster: "root:org", Path: "/by/root%3Aorg/x"},
		"/by/*/x":                   {Mapping: "/by/{cluster}", Path: "/by/*/x"},
		"/by":                       {Mapping: "/", Path: "/by"},
		"/services/y/clusters/a/..": {Ambiguous: true},
		"/services/y/clusters/*/z":  {Mapping: "/services/", Path: "/services/y/clusters/*/z"},
		"/deep/x/special/clusters/": {Mapping: "/deep/{any}/special", Path: "/deep/x/special/clusters/"},
		"//":                        {Ambiguous: true},
		"/./x":                      {Ambiguous: true},
		"/services/..":              {Ambiguous: true},
		"/services/y%2Fx":           {Ambiguous: true},
	} {
		r, err := m.match(path)
		have := got{Cluster: r.cluster, Path: r.path, Ambiguous: err != nil}
		if r.mapping != nil {
			have.Mapping = r.mapping.Path
		}
		if have.Ambiguous {
			have = got{Ambiguous: true}
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// TestDefaultOnly: without a mapping for /clusters/ there is no lookup, and
// nothing but the first segment is judged.
func TestDefaultOnly(t *testing.T) {
	w := newWorld(t)
	m := w.mappings(t, "- path: /\n  backend: https://a"+tlsEntry)
	for _, path := range []string{"/clusters/root/api", "/clusters/*/api", "/x/../y//%2F", "/"} {
		if r, err := m.match(path); err != nil || r.cluster != "" || r.path != path {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
	}
}
