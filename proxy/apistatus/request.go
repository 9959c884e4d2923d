package apistatus

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TooLarge is a 413 for a body of more than limit bytes.
func TooLarge(limit int) *metav1.Status {
	return New(http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge, "Request entity is too large: limit is %d", limit)
}

// StreamTooLarge is a 431 for a stream's request whose path, query and headers have more than limit
// bytes.
func StreamTooLarge(limit int) *metav1.Status {
	return New(http.StatusRequestHeaderFieldsTooLarge, metav1.StatusReasonUnknown, "the request is too large for a watch or an upgraded connection: its path, query and headers may have at most %d bytes", limit)
}

// BodyTimeout is a 408 for a body that did not arrive in time.
func BodyTimeout() *metav1.Status {
	return New(http.StatusRequestTimeout, metav1.StatusReasonTimeout, "the request's body did not arrive in time")
}

// ExpiredByMove is a 410 for a request that lists or watches from a resource version that the
// workspace's move to another shard has made worthless. Watches end with it, too.
func ExpiredByMove() *metav1.Status {
	return New(http.StatusGone, metav1.StatusReasonExpired, "the workspace has moved to another shard, whose resource versions are different: list it again without a resource version or a continue token")
}

// MountUnauthenticated is a 401 for a caller without an identity at a mount whose host gets one.
func MountUnauthenticated() *metav1.Status {
	return New(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized: the workspace's mount needs an authenticated caller")
}
