package apistatus

import (
	"math"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The texts of RateExceeded: whose rate is exceeded.
const (
	WorkspaceRate = "the workspace sends requests faster than it may; look for a client of it that loops"
	IdentityRate  = "you send requests faster than one user may here; make the client send fewer"
	AddressRate   = "your address sends requests faster than one address may; make its clients send fewer"
)

// RateExceeded is a 429 for a request that came too fast: why is one of the texts above. The
// client may try again after that time, which is told in whole seconds, one at least.
func RateExceeded(why string, after time.Duration) *metav1.Status {
	retry := int32(min(max(math.Ceil(after.Seconds()), 1), math.MaxInt32))
	s := New(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "%s; try again in %d s", why, retry)
	s.Details = &metav1.StatusDetails{RetryAfterSeconds: retry}
	return s
}
