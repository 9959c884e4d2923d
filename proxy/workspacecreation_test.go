package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/routing/routingtest"
)

func TestOwnerOfCreatedWorkspaces(t *testing.T) {
	t.Parallel()
	const collection = "/clusters/root:ws/apis/tenancy.kcp.io/v1alpha1/workspaces"
	for name, tc := range map[string]struct {
		method, path, contentType string
		account                   bool
		want                      string
	}{
		"create":                 {"POST", collection, "application/json", true, "owner"},
		"create, dry run":        {"POST", collection + "?dryRun=All", "application/json", true, "owner"},
		"apply":                  {"PATCH", collection + "/new?fieldManager=x", "application/apply-patch+yaml", true, "owner"},
		"apply, CBOR":            {"PATCH", collection + "/new", "application/apply-patch+cbor", true, "owner"},
		"apply with parameters":  {"PATCH", collection + "/new", "application/apply-patch+yaml; charset=utf-8", true, "owner"},
		"apply, a parameter cut": {"PATCH", collection + "/new", "application/apply-patch+yaml; charset", true, "owner"},
		"impersonating nobody":   {"POST", collection + "?nobody", "application/json", true, "owner"},
		"create, a slash more":   {"POST", collection + "/", "application/json", true, "owner"},
		"apply, a slash more":    {"PATCH", collection + "/new/", "application/apply-patch+yaml", true, "owner"},
		"another user":           {"POST", collection, "application/json", false, "alice"},
		"merge patch":            {"PATCH", collection + "/new", "application/merge-patch+json", true, "alice"},
		"apply of a status":      {"PATCH", collection + "/new/status", "application/apply-patch+yaml", true, "alice"},
		"apply to nothing":       {"PATCH", collection + "/", "application/apply-patch+yaml", true, "alice"},
		"update":                 {"PUT", collection + "/new", "application/json", true, "alice"},
		"delete":                 {"DELETE", collection, "application/json", true, "alice"},
		"list":                   {"GET", collection, "", true, "alice"},
		"another resource":       {"POST", "/clusters/root:ws/apis/tenancy.kcp.io/v1alpha1/workspacetypes", "application/json", true, "alice"},
		"a longer name":          {"POST", collection + "x", "application/json", true, "alice"},
		"below it":               {"POST", collection + "/new", "application/json", true, "alice"},
		"another group":          {"POST", "/clusters/root:ws/apis/tenancy.example.io/v1alpha1/workspaces", "application/json", true, "alice"},
		"spelt in another way":   {"POST", "/clusters/root:ws/apis/tenancy.kcp.io/v1alpha1/%77orkspaces", "application/json", true, "owner"},
		"apply, encoded slash":   {"PATCH", collection + "/new%2Fstatus", "application/apply-patch+yaml", true, ""},
		"apply, trailing slash":  {"PATCH", collection + "/new/%2F", "application/apply-patch+yaml", true, ""},
		"apply, two slashes":     {"PATCH", collection + "/new//", "application/apply-patch+yaml", true, ""},
		"apply, dots":            {"PATCH", collection + "/new/%2e", "application/apply-patch+yaml", true, ""},
		"create, encoded slash":  {"POST", collection + "/%2F", "application/json", true, ""},
		"create, two slashes":    {"POST", collection + "//", "application/json", true, ""},
		"create, in a segment":   {"POST", "/clusters/root:ws/apis/tenancy.kcp.io%2Fv1alpha1/workspaces", "application/json", true, ""},
		"merge patch, encoded":   {"PATCH", collection + "/new%2Fstatus", "application/merge-patch+json", true, "alice"},
		"another user, encoded":  {"PATCH", collection + "/new%2Fstatus", "application/apply-patch+yaml", false, "alice"},
		"in a query":             {"POST", "/clusters/root:ws/api?x=/apis/tenancy.kcp.io/v1alpha1/workspaces", "application/json", true, "alice"},
		"impersonating":          {"POST", collection + "?impersonate", "application/json", true, "alice"},
		"in a virtual workspace": {"POST", "/services/x" + collection, "application/json", true, "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.shard(t, "shard-1", true, nil)
			w.decide = func(context.Context, authn.Request) *authn.Decision {
				return &authn.Decision{User: alice, Status: 200, Authenticator: "token", ServiceAccount: tc.account}
			}
			w.config.Owner = func(d *authn.Decision) *authn.Decision {
				return &authn.Decision{User: &user.DefaultInfo{Name: "owner"}, Status: 200, Authenticator: d.Authenticator}
			}
			w.mapping = "\n- path: /services/\n  backend: " + s.URL + routingtest.TLSEntry
			f := w.front(t)
			header := http.Header{}
			if tc.contentType != "" {
				header.Set("Content-Type", tc.contentType)
			}
			if strings.HasSuffix(tc.path, "?impersonate") {
				header.Set("Impersonate-User", "bob")
			}
			if strings.HasSuffix(tc.path, "?nobody") {
				header.Set("Impersonate-Nobody", "bob") // API servers do not know it
			}
			res, body := do(t, f.client(t, true), tc.method, f.URL+tc.path, header)
			if tc.want == "" {
				if got := s.take(); res.StatusCode != http.StatusBadRequest || len(got) != 0 {
					t.Fatalf("%d: %s; the shard got %+v", res.StatusCode, body, got)
				}
				return
			}
			if res.StatusCode != http.StatusOK {
				t.Fatalf("%d: %s", res.StatusCode, body)
			}
			if got := s.one(t).User.Name; got != tc.want {
				t.Errorf("forwarded as %q, want %q", got, tc.want)
			}
		})
	}
}

// FuzzCreatesWorkspace holds what is taken for the creation of a Workspace against
// the way an API server reads the request.
func FuzzCreatesWorkspace(f *testing.F) {
	const collection = "/apis/tenancy.kcp.io/v1alpha1/workspaces"
	for _, path := range []string{
		"", "/", "/new", "/new/", "/new/status", "/new%2Fstatus", "/%2F", "//", "/new//", "/new/%2f", "/../workspaces", "/new/.", "/n%65w", "x", "/new;x",
	} {
		f.Add(collection + path)
	}
	f.Add("/apis/%74enancy.kcp.io/v1alpha1/workspaces/new")
	f.Add("/apis/tenancy.kcp.io//v1alpha1/workspaces")
	f.Add("/apis/tenancy.kcp.io%2Fv1alpha1/workspaces/new")
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") || lookup.ValidateSubpath(path) != nil {
			return
		}
		for _, method := range []string{http.MethodPost, http.MethodPatch} {
			r := &http.Request{Method: method, URL: u, Header: http.Header{"Content-Type": {"application/apply-patch+yaml"}}}
			got, err := createsWorkspace(r, &destination.Destination{Kind: destination.Shard, Path: path})
			if err != nil {
				continue // refused
			}
			info, err := apiPrefixes.NewRequestInfo(r)
			if err != nil {
				continue
			}
			want := info.APIGroup == "tenancy.kcp.io" && info.APIVersion == "v1alpha1" && info.Resource == "workspaces" && info.Subresource == "" && info.Namespace == "" &&
				(info.Verb == "create" && info.Name == "" || info.Verb == "patch" && info.Name != "")
			if got != want {
				t.Fatalf("%s %s: %v; an API server reads %+v", method, path, got, info)
			}
		}
	})
}
