package standin

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// WorkspaceAdmin is the group whose members administer every workspace here.
const WorkspaceAdmin = "workspace-admins"

// ConfigurationReader is the group whose members may read one
// WorkspaceAuthenticationConfiguration of every workspace here, "auth".
const ConfigurationReader = "configuration-readers"

// MetricsReader is the group whose members may read what the proxy tells of
// itself, as root's RBAC would have it.
const MetricsReader = "metrics-readers"

// reviewed answers a SubjectAccessReview in root; false when r is none.
func (s *Shard) reviewed(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost || r.URL.Path != "/clusters/root/apis/authorization.k8s.io/v1/subjectaccessreviews" || !s.allowed(r) {
		return false
	}
	var review struct {
		Spec struct {
			Groups                []string
			NonResourceAttributes struct{ Path, Verb string }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return true
	}
	asked := review.Spec.NonResourceAttributes
	post := asked.Path == "/debug/explain" && asked.Verb == "post"
	get := asked.Verb == "get" && slices.Contains([]string{"/metrics", "/statusz", "/flagz", "/debug/explain"}, asked.Path)
	allowed := (get || post) && slices.Contains(review.Spec.Groups, MetricsReader)
	answer(w, Object{"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": Object{"allowed": allowed}})
	return true
}

// selfReviewed answers a SelfSubjectAccessReview in any workspace; false when r
// is none.
func (s *Shard) selfReviewed(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") || !s.verified(r, s.proxies) {
		return false
	}
	who, ok, err := s.headers.AuthenticateRequest(r)
	var review authorizationv1.SelfSubjectAccessReview
	if err != nil || !ok || json.NewDecoder(r.Body).Decode(&review) != nil {
		http.Error(w, "no review, or nobody asks", http.StatusBadRequest)
		return true
	}
	review.Status.Allowed = mayIn(who.User.GetGroups(), &review.Spec)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review)
	return true
}

// mayIn reports whether members of the groups may do in a workspace what spec says:
// WorkspaceAdmin may read explanations and configurations and change these,
// ConfigurationReader may read the configuration "auth".
func mayIn(groups []string, spec *authorizationv1.SelfSubjectAccessReviewSpec) bool {
	admin := slices.Contains(groups, WorkspaceAdmin)
	if path := spec.NonResourceAttributes; path != nil {
		return admin && path.Path == "/debug/explain" && path.Verb == "get"
	}
	object := spec.ResourceAttributes
	if object == nil || object.Group != "tenancy.kcp.io" || object.Resource != "workspaceauthenticationconfigurations" {
		return false
	}
	return admin && (object.Verb == "get" || object.Verb == "update") ||
		object.Verb == "get" && object.Name == "auth" && slices.Contains(groups, ConfigurationReader)
}
