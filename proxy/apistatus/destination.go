package apistatus

import (
	"errors"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/proxy/destination"
)

// ForDestination is the answer to a request for which routing found no destination: that of
// ForLookup, or what a *destination.Error says.
func ForDestination(err error, r *http.Request) *metav1.Status {
	var nowhere *destination.Error
	if !errors.As(err, &nowhere) {
		return ForLookup(err, r)
	}
	switch nowhere.Reason {
	case destination.MountRefused:
		return Forbidden("%s", nowhere.Message)
	case destination.MountLoop:
		return New(http.StatusLoopDetected, metav1.StatusReasonUnknown, "%s", nowhere.Message)
	case destination.MountPath:
		return BadRequest("%s", nowhere.Message)
	case destination.Misplaced:
		return New(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "%s", nowhere.Message)
	case destination.NoShard:
		return unavailable(nowhere.Message)
	case destination.NotMapped:
	}
	return NotFound()
}
