package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"

	"frontproxy/e2e/harness"
)

// answering is a proxy that answers by method and path; what it was asked is in
// asked.
type answering struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

func newAnswering(t *testing.T, answers map[string]string) *answering {
	a := &answering{}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked = append(a.asked, r.Method+" "+r.URL.RequestURI())
		body, ok := answers[r.Method+" "+r.URL.RequestURI()]
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprint(w, `{"kind":"Status","code":404}`)
			return
		}
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(a.Close)
	return a
}

// TestShadow: every difference in status, body and identity is told, and none
// that is none; only reads are sent.
func TestShadow(t *testing.T) {
	review := "POST /clusters/root:ws" + selfReview
	same := map[string]string{
		"GET /clusters/root:ws/api/v1/pods?limit=5": `{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{"a":1},{"b":2}]}`,
		review:                               `{"kind":"SelfSubjectReview","status":{"userInfo":{"username":"alice","groups":["a","b"]}}}`,
		"GET /clusters/root:ws/api/v1/nodes": `{"kind":"Status","code":401,"details":{"uid":"front-1"}}`,
		"GET /version":                       `{"major":"1"}`,
	}
	with := func(key, body string) map[string]string {
		m := map[string]string{}
		for k, v := range same {
			m[k] = v
		}
		m[key] = body
		return m
	}
	paths := file(t, "paths", []byte("# reads\n/clusters/root:ws/api/v1/pods?limit=5\n/clusters/root:ws/api/v1/nodes\n\n/version\n/version\n/clusters/root:ws/api/v1/pods?watch=true\n/clusters/root:ws/api/v1/namespaces/x/pods/y/exec?command=z\n"))
	event := func(stage, verb, uri string) string {
		return fmt.Sprintf(`{"kind":"Event","stage":%q,"verb":%q,"requestURI":%q}`+"\n", stage, verb, uri)
	}
	auditLog := file(t, "audit.log", []byte(event("RequestReceived", "get", "/never")+event("ResponseComplete", "create", "/never")+
		event("ResponseComplete", "watch", "/never")+event("ResponseComplete", "get", "/version")))
	for _, tt := range []struct {
		name      string
		candidate map[string]string
		args      []string
		want      []string // what differs, and where
		requests  int
	}{
		{"the same", same, nil, nil, 4},
		{"what changes by itself", map[string]string{
			"GET /clusters/root:ws/api/v1/pods?limit=5": `{"metadata":{"resourceVersion":"2"},"kind":"PodList","items":[{"b":2},{"a":1}]}`,
			review:                               `{"kind":"SelfSubjectReview","status":{"userInfo":{"username":"alice","groups":["b","a"]}}}`,
			"GET /clusters/root:ws/api/v1/nodes": `{"kind":"Status","code":401}`, "GET /version": `{"major":"1"}`}, nil, nil, 4},
		{"identity", with(review, `{"kind":"SelfSubjectReview","status":{"userInfo":{"username":"alice","groups":["a"]}}}`), nil, []string{"identity /clusters/root:ws" + selfReview}, 4},
		{"body", with("GET /version", `{"major":"2"}`), nil, []string{"body /version"}, 4},
		{"no JSON", with("GET /version", "404 page not found"), nil, []string{"body /version"}, 4},
		{"an ignored field", with("GET /version", `{"major":"2"}`), []string{"--ignore-field=major"}, nil, 4},
		{"an item less", with("GET /clusters/root:ws/api/v1/pods?limit=5", `{"kind":"PodList","items":[{"a":1}]}`), nil, []string{"body /clusters/root:ws/api/v1/pods?limit=5"}, 4},
		{"all", map[string]string{}, nil, []string{"identity", "status /clusters/root:ws/api/v1/pods?limit=5", "status /clusters/root:ws/api/v1/nodes", "status /version"}, 4},
		{"audit log", with("GET /version", "{}"), []string{"--audit-log=" + auditLog, "--paths-file="}, []string{"body /version"}, 1},
		{"sampled", with("GET /version", "{}"), []string{"--sample=2"}, []string{"body /version"}, 3},
		{"limited", map[string]string{}, []string{"--limit=1"}, []string{"identity", "status /clusters/root:ws/api/v1/pods?limit=5"}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, changed := newAnswering(t, same), newAnswering(t, tt.candidate)
			kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
			if err := harness.WriteKubeconfig(kubeconfig, &rest.Config{Host: "https://unused", BearerToken: "a-token", TLSClientConfig: rest.TLSClientConfig{CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.Certificate().Raw})}}); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err := run(context.Background(), append([]string{"shadow", "--incumbent=" + old.URL, "--candidate=" + changed.URL, "--kubeconfig=" + kubeconfig, "--paths-file=" + paths, "-ojson"}, tt.args...), &out)
			code := exitCode(err, os.Stderr)
			var report ShadowReport
			if err := json.Unmarshal(out.Bytes(), &report); err != nil {
				t.Fatalf("%v in %q", err, out.String())
			}
			if (code != 0) != (len(tt.want) > 0) || report.Requests != tt.requests || len(report.Differences) != len(tt.want) {
				t.Errorf("exit %d, %d requests, %d differences; want %d requests, %q: %s", code, report.Requests, len(report.Differences), tt.requests, tt.want, out.String())
			}
			for i, d := range report.Differences {
				got := d.What + " " + d.Path
				if i < len(tt.want) && !strings.HasPrefix(strings.Replace(got, "status /clusters/root:ws"+selfReview, "identity", 1), tt.want[i]) {
					t.Errorf("difference %d is %q, want %q", i, got, tt.want[i])
				}
			}
			for _, asked := range [][]string{old.asked, changed.asked} {
				if slices.ContainsFunc(asked, func(a string) bool {
					return !strings.HasPrefix(a, "GET ") && a != review || strings.Contains(a, "watch") || strings.Contains(a, "exec") || strings.Contains(a, "never")
				}) {
					t.Errorf("sent: %q", asked)
				}
			}
		})
	}
	for text, want := range map[string]string{"404 page not found\n": "404 page not found\n", `{"b":1,"a":2}`: `{"a":2,"b":1}`, "": "", "{} {}": "{} {}"} {
		if got := normal([]byte(text), nil); got != want {
			t.Errorf("%q is compared as %q, want %q", text, got, want)
		}
	}
	for name, args := range map[string][]string{"nobody asks": {"--incumbent=https://a", "--candidate=https://b", "--paths-file=x"}, "no proxies": {"--paths-file=x", "--anonymous"}, "an argument": {"/version", "--incumbent=https://a", "--candidate=https://b", "--paths-file=x", "--anonymous"}, "no paths": {"--incumbent=https://a", "--candidate=https://b", "--anonymous"}} {
		if code := exitCode(run(context.Background(), append([]string{"shadow"}, args...), new(bytes.Buffer)), new(bytes.Buffer)); code != 2 {
			t.Errorf("%s: exit %d, want 2", name, code)
		}
	}
}

// TestNormalReview: a review is made at each request, so when it was made says
// nothing; who it names does.
func TestNormalReview(t *testing.T) {
	review := func(at, name string) string {
		return normal(fmt.Appendf(nil, `{"kind":"SelfSubjectReview","metadata":{"creationTimestamp":%q},"status":{"userInfo":{"username":%q}}}`, at, name), nil)
	}
	if a, b := review("2026-11-23T12:55:59Z", "ada"), review("2026-11-23T12:56:00Z", "ada"); a != b {
		t.Errorf("%s differs from %s", a, b)
	}
	if a, b := review("2026-11-23T12:55:59Z", "ada"), review("2026-11-23T12:55:59Z", "bob"); a == b {
		t.Errorf("%s is not told from another's", a)
	}
}

// FuzzNormal: what is compared of a body is the same when it is made again.
func FuzzNormal(f *testing.F) {
	f.Add(`{"kind":"Status","details":{"uid":"x"},"metadata":{}}`)
	f.Add(`{"items":[{"b":1},{"a":[]}],"resourceVersion":"1"}`)
	f.Add("404 page not found\n")
	f.Fuzz(func(t *testing.T, body string) {
		ignored := sets.New("resourceVersion")
		once := normal([]byte(body), ignored)
		if twice := normal([]byte(once), ignored); twice != once {
			t.Errorf("%q is %q, then %q", body, once, twice)
		}
	})
}

// TestShadowShowsNoSecrets: where Secrets differ that is told, and not how.
func TestShadowShowsNoSecrets(t *testing.T) {
	for name, path := range map[string]string{"one": "/clusters/root:ws/api/v1/namespaces/x/secrets/a", "a list": "/clusters/root:ws/api/v1/secrets", "elsewhere": "/x"} {
		t.Run(name, func(t *testing.T) {
			body := `{"kind":"Secret","data":{"k":"%s"}}`
			if name == "a list" {
				body = `{"items":[{"data":{"k":"%s"}}],"kind":"SecretList"}`
			}
			before := map[string]string{"GET " + path: fmt.Sprintf(body, "b2xk-hidden")}
			after := map[string]string{"GET " + path: fmt.Sprintf(body, "bmV3-hidden")}
			for _, candidate := range []map[string]string{after, {}} {
				old, changed := newAnswering(t, before), newAnswering(t, candidate)
				ca := file(t, "ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.Certificate().Raw}))
				var out bytes.Buffer
				err := run(context.Background(), []string{"shadow", "--incumbent=" + old.URL, "--candidate=" + changed.URL, "--anonymous", "--ca-file=" + ca,
					"--paths-file=" + file(t, "paths", []byte(path+"\n"))}, &out)
				if exitCode(err, os.Stderr) != 1 || strings.Contains(out.String(), "hidden") || !strings.Contains(out.String(), "not shown") {
					t.Errorf("%v: %s", err, out.String())
				}
			}
		})
	}
}
