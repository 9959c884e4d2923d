package proxy

import (
	"mime"
	"net/http"
	"strings"
)

// workspacesPath is where Workspaces are created, below a cluster.
const workspacesPath = "/apis/tenancy.kcp.io/v1alpha1/workspaces"

// createsWorkspace says whether a request may create a Workspace, and so make
// its user the owner: a POST to the collection, or a server-side apply, which
// creates what does not exist. A path that is spelt in any other way is not
// taken for one, and goes on under the identity as it is. So does one that
// impersonates: whoever is impersonated would be the owner.
func (x *exchange) createsWorkspace(r *http.Request) bool {
	if x.foreign || !x.route.mapping.Shards {
		return false
	}
	rest, ok := strings.CutPrefix(x.route.path, workspacesPath)
	if !ok {
		return false
	}
	for key := range r.Header {
		if hasFoldPrefix(key, "impersonate-") {
			return false
		}
	}
	rest = strings.TrimSuffix(rest, "/") // servers do not mind it
	switch r.Method {
	case http.MethodPost:
		return rest == ""
	case http.MethodPatch:
		name, ok := strings.CutPrefix(rest, "/")
		if !ok || name == "" || strings.Contains(name, "/") {
			return false
		}
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		return err == nil && strings.HasPrefix(kind, "application/apply-patch+")
	}
	return false
}
