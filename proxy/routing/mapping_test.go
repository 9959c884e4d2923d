package routing

import (
	"cmp"
	"crypto/tls"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"frontproxy/proxy/identityheaders"
	"frontproxy/proxy/routing/routingtest"
)

func TestLoadMappings(t *testing.T) {
	w := routingtest.NewFiles(t)
	const tls = "\n  backend_server_ca: DIR/ca.crt\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n"
	entry := func(fields string) string { return "- " + fields + tls }
	w.Write(t, "empty.crt", nil)
	otherCert, _ := w.Clients.Issue(t, "other")
	w.Write(t, "other.crt", otherCert)
	for _, tt := range []struct {
		name, yaml string
		errors     []string // parts of the error; empty: it loads
		warnings   []string // one each; empty: there is none
	}{
		{name: "usual", yaml: entry("path: /clusters/\n  backend: https://a:1") + entry("path: /services/\n  backend: https://a:1/base/") + entry("path: /\n  backend: https://b")},
		{name: "shards without a backend", yaml: entry("path: /clusters/")},
		{name: "JSON", yaml: `[{"path": "/clusters/", "backend": "https://a", "backend_server_ca": "DIR/ca.crt", "proxy_client_cert": "DIR/client.crt", "proxy_client_key": "DIR/client.key"}]`},
		{name: "ours", yaml: entry("path: /x/{cluster}/\n  backend: https://a\n  uid_header: X-Id\n  authentication: pass-through")},
		{name: "pass-through without a certificate", yaml: "- path: /x/\n  backend: https://a\n  authentication: pass-through\n  backend_server_ca: DIR/ca.crt\n"},
		{name: "not YAML", yaml: "- path: [", errors: []string{"is not YAML"}},
		{name: "empty", yaml: "", errors: []string{"the file is empty"}},
		{name: "no list", yaml: "path: /", errors: []string{"must be a YAML list"}},
		{name: "no mapping", yaml: "- x", errors: []string{"entry 1", "must be a mapping"}},
		{name: "unknown key", yaml: entry("path: /x/\n  backend: https://a\n  backnd: y"), warnings: []string{`entry 1 (path "/x/", line 1)`, `line 3: the key "backnd" is unknown`}},
		{name: "key twice", yaml: entry("path: /x/\n  backend: https://a\n  backend: https://b"), warnings: []string{"line 3: backend occurs twice"}},
		{name: "number", yaml: entry("path: 7\n  backend: https://a"), errors: []string{`entry 1 (path "7", line 1)`, "must begin with a slash"}},
		{name: "list for a string", yaml: entry("path: [/x]\n  backend: https://a"), errors: []string{"line 1: path must be a string"}},
		{name: "relative path", yaml: entry("path: x\n  backend: https://a"), errors: []string{"path: must begin with a slash"}},
		{name: "dot segment", yaml: entry("path: /a/../b\n  backend: https://a"), errors: []string{"dot segment"}},
		{name: "half a placeholder", yaml: entry("path: /a{b}/\n  backend: https://a"), errors: []string{"placeholder must be a whole segment"}},
		{name: "rest placeholder", yaml: entry("path: /a/{b...}\n  backend: https://a"), errors: []string{"everything below its path anyway"}},
		{name: "placeholder twice", yaml: entry("path: /{a}/{a}\n  backend: https://a"), errors: []string{"occurs twice"}},
		{name: "plain http", yaml: entry("path: /x\n  backend: http://a"), errors: []string{"http://a", "not encrypted", "kcp-front-proxy accepts it"}},
		{name: "no host", yaml: entry("path: /x\n  backend: https:///a"), errors: []string{"must be https and have a host"}},
		{name: "no backend", yaml: entry("path: /x"), errors: []string{"backend is missing"}},
		{name: "query in backend", yaml: entry("path: /x\n  backend: https://a?b"), errors: []string{"query"}},
		{name: "header name", yaml: entry("path: /x\n  backend: https://a\n  user_header: 'X Y'"), errors: []string{"user_header", "not a header name"}},
		{name: "reserved header", yaml: entry("path: /x\n  backend: https://a\n  user_header: authorization"), errors: []string{"already has another meaning"}},
		{name: "same header", yaml: entry("path: /x\n  backend: https://a\n  user_header: X_A\n  group_header: x-a"), errors: []string{"user_header and group_header are the same"}},
		{name: "header in prefix", yaml: entry("path: /x\n  backend: https://a\n  extra_header_prefix: X-Remote-"), errors: []string{"would read it as an extra"}},
		{name: "authentication", yaml: entry("path: /x\n  backend: https://a\n  authentication: off"), errors: []string{`unknown value "false"`}},
		{name: "no files", yaml: "- path: /x\n  backend: https://a\n", errors: []string{"backend_server_ca is missing", "proxy_client_cert is missing", "proxy_client_key is missing"}},
		{name: "file not there", yaml: "- path: /x\n  backend: https://a\n  backend_server_ca: DIR/nope\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n", errors: []string{"backend_server_ca: open", "nope"}},
		{name: "no certificate in CA", yaml: "- path: /x\n  backend: https://a\n  backend_server_ca: DIR/empty.crt\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n", errors: []string{"has no PEM certificate"}},
		{name: "no pair", yaml: "- path: /x\n  backend: https://a\n  backend_server_ca: DIR/ca.crt\n  proxy_client_cert: DIR/other.crt\n  proxy_client_key: DIR/client.key\n", errors: []string{"do not match"}},
		{name: "duplicate", yaml: entry("path: /x\n  backend: https://a") + entry("path: /x/\n  backend: https://b"), errors: []string{`entry 1 (path "/x", line 1) and entry 2 (path "/x/", line 6) match the same paths`}},
		{name: "duplicate shards", yaml: entry("path: /clusters/") + entry("path: /clusters/{any}/\n  backend: https://b"), errors: []string{"match the same paths"}},
		{name: "ambiguous", yaml: entry("path: /a/{b}/c\n  backend: https://a") + entry("path: /a/x/\n  backend: https://b"), errors: []string{"entry 1", "entry 2", "neither is more specific"}},
		{name: "all at once", yaml: entry("path: x\n  backend: http://a") + entry("path: /y\n  backend: https://b\n  z: z"), errors: []string{"must begin with a slash", "not encrypted"}, warnings: []string{`entry 2 (path "/y", line 6): line 8: the key "z"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := LoadMappings("mapping.yaml", []byte(strings.ReplaceAll(tt.yaml, "DIR", w.Dir)), os.ReadFile)
			if (err != nil) != (len(tt.errors) > 0) {
				t.Fatalf("error: %v", err)
			}
			for _, want := range tt.errors {
				if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mapping.yaml") {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if m == nil {
				return
			}
			for _, want := range tt.warnings {
				if all := strings.Join(m.Warnings(), "\n"); !strings.Contains(all, want) || !strings.Contains(all, "mapping.yaml") {
					t.Errorf("warnings %q do not say %q", all, want)
				}
			}
			if len(tt.warnings) == 0 && len(m.Warnings()) > 0 {
				t.Errorf("warnings %q", m.Warnings())
			}
		})
	}
}

// kcpMapping is kcp-front-proxy's PathMapping, which its reader fills with
// sigs.k8s.io/yaml (pkg/server/proxy/types).
type kcpMapping struct {
	Path              string `json:"path"`
	Backend           string `json:"backend"`
	BackendServerCA   string `json:"backend_server_ca"`
	ProxyClientCert   string `json:"proxy_client_cert"`
	ProxyClientKey    string `json:"proxy_client_key"`
	UserHeader        string `json:"user_header,omitempty"`
	GroupHeader       string `json:"group_header,omitempty"`
	ExtraHeaderPrefix string `json:"extra_header_prefix"`
}

// startsKCP does what kcp-front-proxy does with a mapping file when it starts
// (pkg/proxy/mapping.go, proxy.go).
func startsKCP(data []byte) ([]kcpMapping, error) {
	var all []kcpMapping
	if err := yaml.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	for _, m := range all {
		if _, err := url.Parse(m.Backend); err != nil {
			return nil, err
		}
		if _, err := os.ReadFile(m.BackendServerCA); err != nil {
			return nil, err
		}
		if _, err := tls.LoadX509KeyPair(m.ProxyClientCert, m.ProxyClientKey); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// TestMappingsAsKCP runs mapping files through kcp's reading and ours. What kcp
// starts with starts here and means the same, but for the cases that say why not;
// docs/compatibility.md lists those.
func TestMappingsAsKCP(t *testing.T) {
	w := routingtest.NewFiles(t)
	w.Write(t, "junk.crt", []byte("junk"))
	const files = "  backend_server_ca: DIR/ca.crt\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n"
	for name, tt := range map[string]struct {
		yaml string
		ours string // what our error says; kcp has none
	}{
		"usual":                          {yaml: "- path: /clusters/\n  backend: https://a:6443\n" + files + "- path: /services/\n  backend: https://b\n" + files},
		"JSON":                           {yaml: `[{"path": "/x/", "backend": "https://a", "backend_server_ca": "DIR/ca.crt", "proxy_client_cert": "DIR/client.crt", "proxy_client_key": "DIR/client.key"}]`},
		"merge key":                      {yaml: "- &base\n  path: /a/\n  backend: https://a\n" + files + "- <<: *base\n  path: /b/\n"},
		"two merge keys":                 {yaml: "- &one\n  path: /a/\n  backend: https://a\n" + files + "- &two\n  path: /b/\n  backend: https://b\n  user_header: X-U\n" + files + "- <<: [*one, *two]\n  path: /c/\n"},
		"merged mapping":                 {yaml: "- <<: {path: /a/, backend: 'https://a'}\n" + files},
		"merge after":                    {yaml: "- path: /b/\n  backend: https://a\n  user_header: X-B\n  <<: {user_header: X-A, group_header: X-G}\n" + files},
		"aliased value":                  {yaml: "- path: /a/\n  backend: &b https://a\n" + files + "- path: /b/\n  backend: *b\n" + files},
		"unknown keys":                   {yaml: "- path: /a/\n  backend: https://a\n  comment: [a, {b: c}]\n  x: 7\n" + files},
		"key twice":                      {yaml: "- path: /a/\n  backend: https://a\n  backend: https://b\n" + files},
		"upper case":                     {yaml: "- Path: /a/\n  BACKEND: https://a\n" + files},
		"both cases":                     {yaml: "- Path: /a/\n  path: /b/\n  backend: https://a\n" + files},
		"numbers":                        {yaml: "- path: /a/\n  backend: https://a\n  user_header: 7\n  group_header: 0x1F\n  extra_header_prefix: 1.50\n" + files},
		"booleans":                       {yaml: "- path: /a/\n  backend: https://a\n  user_header: true\n  group_header: off\n" + files},
		"nulls":                          {yaml: "- path: /a/\n  backend: https://a\n  user_header: null\n  group_header: ~\n  extra_header_prefix:\n" + files},
		"a tag":                          {yaml: "- path: !!str /a/\n  backend: https://a\n" + files},
		"block scalar":                   {yaml: "- path: /a/\n  backend: >-\n    https://a\n" + files},
		"two documents":                  {yaml: "- path: /a/\n  backend: https://a\n" + files + "---\n- path: /b/\n"},
		"default":                        {yaml: "- path: /\n  backend: https://a\n" + files},
		"a literal beside a placeholder": {yaml: "- path: /a/{x}/\n  backend: https://a\n" + files + "- path: /a/b/\n  backend: https://b\n" + files},
		"shards without a backend":       {yaml: "- path: /clusters/\n" + files},

		"list for a string":  {yaml: "- path: [/a/]\n  backend: https://a\n" + files},
		"mapping":            {yaml: "path: /a/\n"},
		"a string":           {yaml: "- x\n"},
		"no files":           {yaml: "- path: /a/\n  backend: https://a\n"},
		"null entry":         {yaml: "- \n"},
		"unknown anchor":     {yaml: "- <<: *none\n" + files},
		"merge of a string":  {yaml: "- <<: x\n" + files},
		"tabs":               {yaml: "-\tpath: /a/\n\tbackend: x\n"},
		"backend is no URL":  {yaml: "- path: /a/\n  backend: 'https://a:x'\n" + files},
		"files are no pairs": {yaml: "- path: /a/\n  backend: https://a\n  backend_server_ca: DIR/ca.crt\n  proxy_client_cert: DIR/ca.crt\n  proxy_client_key: DIR/client.key\n"},

		"empty":                {ours: "is empty or has only comments"},
		"comments":             {yaml: "# nothing\n", ours: "is empty or has only comments"},
		"empty list":           {yaml: "[]", ours: "have at least one"},
		"http":                 {yaml: "- path: /a/\n  backend: http://a\n" + files, ours: "not encrypted"},
		"no backend":           {yaml: "- path: /a/\n" + files, ours: "backend is missing"},
		"backend without host": {yaml: "- path: /a/\n  backend: a:6443\n" + files, ours: "must be https and have a host"},
		"relative path":        {yaml: "- path: a\n  backend: https://a\n" + files, ours: "must begin with a slash"},
		"no path":              {yaml: "- backend: https://a\n" + files, ours: "must begin with a slash"},
		"dot segments":         {yaml: "- path: /a/../b\n  backend: https://a\n" + files, ours: "dot segment"},
		"twice":                {yaml: "- path: /a\n  backend: https://a\n" + files + "- path: /a/\n  backend: https://b\n" + files, ours: "match the same paths"},
		"alias of an entry":    {yaml: "- &e\n  path: /a\n  backend: https://a\n" + files + "- *e\n", ours: "match the same paths"},
		"not a header name":    {yaml: "- path: /a\n  backend: https://a\n  user_header: 'X Y'\n" + files, ours: "not a header name"},
		"reserved header":      {yaml: "- path: /a\n  backend: https://a\n  user_header: Cookie\n" + files, ours: "already has another meaning"},
		"no certificate in CA": {yaml: "- path: /a\n  backend: https://a\n  backend_server_ca: DIR/junk.crt\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n", ours: "has no PEM certificate"},
		"query in backend":     {yaml: "- path: /a\n  backend: https://a?b\n" + files, ours: "query"},
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(strings.ReplaceAll(tt.yaml, "DIR", w.Dir))
			kcp, kcpErr := startsKCP(data)
			m, err := LoadMappings("mapping.yaml", data, os.ReadFile)
			switch {
			case tt.ours != "":
				if kcpErr != nil || err == nil || !strings.Contains(err.Error(), tt.ours) {
					t.Errorf("kcp: %v; ours: %v, want %q", kcpErr, err, tt.ours)
				}
				return
			case (kcpErr == nil) != (err == nil):
				t.Fatalf("kcp: %v; ours: %v", kcpErr, err)
			case err != nil:
				return
			}
			if len(m.entries) != len(kcp) {
				t.Fatalf("%d entries, kcp has %d", len(m.entries), len(kcp))
			}
			for _, e := range m.entries {
				k := kcp[e.index-1]
				got := kcpMapping{Path: e.Path, BackendServerCA: e.tls.CA, ProxyClientCert: e.tls.Cert, ProxyClientKey: e.tls.Key}
				if e.Backend != nil {
					got.Backend = e.Backend.String()
				}
				headers := identityheaders.New(cmp.Or(k.UserHeader, identityheaders.DefaultUser), cmp.Or(k.GroupHeader, identityheaders.DefaultGroup), cmp.Or(k.ExtraHeaderPrefix, identityheaders.DefaultExtra), "")
				for _, o := range m.entries {
					headers.AlsoClear(o.headers)
				}
				if !reflect.DeepEqual(headers, e.headers) {
					t.Errorf("entry %d: headers %+v, kcp has %+v", e.index, e.headers, headers)
				}
				k.UserHeader, k.GroupHeader, k.ExtraHeaderPrefix = "", "", ""
				if got != k {
					t.Errorf("entry %d:\nours %+v\nkcp  %+v", e.index, got, k)
				}
			}
		})
	}
}

func TestMatch(t *testing.T) {
	w := routingtest.NewFiles(t)
	var text strings.Builder
	for _, path := range []string{"/", "/services/", "/clusters/", "/services/{vw}/x", "/services/apiexport/x/", "/by/{cluster}", "/deep/{any}/special"} {
		text.WriteString("- path: " + path + "\n  backend: https://a" + routingtest.TLSEntry)
	}
	m := mappings(t, w, text.String())
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
		if diff := gocmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// TestDefaultOnly: without a mapping for /clusters/ there is no lookup, and
// nothing but the first segment is judged.
func TestDefaultOnly(t *testing.T) {
	w := routingtest.NewFiles(t)
	m := mappings(t, w, "- path: /\n  backend: https://a"+routingtest.TLSEntry)
	for _, path := range []string{"/clusters/root/api", "/clusters/*/api", "/x/../y//%2F", "/"} {
		if r, err := m.match(path); err != nil || r.cluster != "" || r.path != path {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
	}
}

func TestReportsMissingMappings(t *testing.T) {
	w := routingtest.NewFiles(t)
	const tls = "\n  backend_server_ca: DIR/ca.crt\n  proxy_client_cert: DIR/client.crt\n  proxy_client_key: DIR/client.key\n"
	const clusters, services, all = "- path: /clusters/" + tls, "- path: /services/\n  backend: https://a" + tls, "- path: /\n  backend: https://a" + tls
	for name, tt := range map[string]struct {
		yaml string
		want []string // the beginnings
	}{
		"both":         {clusters + services, nil},
		"no services":  {clusters, []string{"no entry has the path /services/: "}},
		"no clusters":  {services, []string{"no entry has the path /clusters/: every request for a workspace gets 404"}},
		"one for all":  {all, []string{`no entry has the path /clusters/: requests for workspaces go to the backend of entry 1 (path "/", line 1)`}},
		"all but that": {all + clusters, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := LoadMappings("mapping.yaml", []byte(strings.ReplaceAll(tt.yaml, "DIR", w.Dir)), os.ReadFile)
			if err != nil {
				t.Fatal(err)
			}
			got := m.Unserved()
			if len(got) != len(tt.want) {
				t.Fatalf("%q, want %d", got, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("%q, want %q", got[i], want)
				}
			}
		})
	}
}

// TestFilesAreAbsolute: errors, logs and /statusz say which files are meant.
func TestFilesAreAbsolute(t *testing.T) {
	w := routingtest.NewFiles(t)
	t.Chdir(w.Dir)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMappings("mapping.yaml", []byte("- path: /clusters/\n  backend_server_ca: ca.crt\n  proxy_client_cert: client.crt\n  proxy_client_key: client.key\n"), os.ReadFile); err != nil {
		t.Errorf("files relative to the working directory: %v", err)
	}
	_, err = LoadMappings("mapping.yaml", []byte("- path: /clusters/\n  backend_server_ca: gone.crt\n  proxy_client_cert: client.crt\n  proxy_client_key: client.key\n"), os.ReadFile)
	if err == nil || !strings.Contains(err.Error(), "open "+dir+"/gone.crt: no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}
