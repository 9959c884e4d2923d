package apistatus

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CannotReview is the answer to a TokenReview about a token that cannot be judged now: a 503,
// with how long to wait.
func CannotReview() *metav1.Status {
	return unavailable("the token cannot be reviewed right now")
}

// TooManyReviews is a 429 for TokenReviews in one workspace.
func TooManyReviews() *metav1.Status {
	return soon(New(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many TokenReviews in this workspace; try again later"))
}

// TooLarge is a 413 for a body of more than limit bytes.
func TooLarge(limit int) *metav1.Status {
	return New(http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge, "Request entity is too large: limit is %d", limit)
}
