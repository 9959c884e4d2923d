package standin

import (
	"encoding/json"
	"net/http"
	"slices"
)

// MetricsReader is the group whose members may read /metrics, as root's RBAC
// would have it.
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
	allowed := asked.Path == "/metrics" && asked.Verb == "get" && slices.Contains(review.Spec.Groups, MetricsReader)
	answer(w, Object{"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "status": Object{"allowed": allowed}})
	return true
}
