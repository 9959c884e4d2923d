package apistatus

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// CannotReview is the answer to a TokenReview about a token that cannot be judged now: a 503,
// with how long to wait.
func CannotReview() *metav1.Status {
	return unavailable("the token cannot be reviewed right now")
}

// TooManyReviews is a 429 for TokenReviews in one workspace.
func TooManyReviews() *metav1.Status {
	return retrySoon(New(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many TokenReviews in this workspace; try again later"))
}

// ReviewForbidden is a 403 for a user who may not create TokenReviews, whose resource is given.
func ReviewForbidden(user string, resource schema.GroupResource) *metav1.Status {
	s := Forbidden("%s is forbidden: User %q cannot create resource %q in API group %q at the cluster scope", resource, user, resource.Resource, resource.Group)
	s.Details = &metav1.StatusDetails{Group: resource.Group, Kind: resource.Resource}
	return s
}
