package apistatus

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/index"
	"frontproxy/proxy/destination"
)

func TestForDestination(t *testing.T) {
	because := func(reason destination.Reason) error {
		return fmt.Errorf("resolve: %w", &destination.Error{Reason: reason, Message: "100% true"})
	}
	for _, tt := range []struct {
		name    string
		err     error
		code    int32
		reason  metav1.StatusReason
		message string
	}{
		{"not mapped", because(destination.NotMapped), 404, metav1.StatusReasonNotFound, "the server could not find the requested resource"},
		{"mount refused", because(destination.MountRefused), 403, metav1.StatusReasonForbidden, "100% true"},
		{"loop", because(destination.MountLoop), 508, metav1.StatusReasonUnknown, "100% true"},
		{"path below a mount", because(destination.MountPath), 400, metav1.StatusReasonBadRequest, "100% true"},
		{"another shard's virtual workspaces", because(destination.Misplaced), 503, metav1.StatusReasonServiceUnavailable, "100% true"},
		{"no shard that responds", because(destination.NoShard), 503, metav1.StatusReasonServiceUnavailable, "100% true; try again later"},
		{"lookup", index.ErrConflict, 503, metav1.StatusReasonServiceUnavailable, "the workspace is being moved; try again later"},
		{"anything else", errors.New("boom"), 500, metav1.StatusReasonInternalError, "Internal error occurred: the workspace could not be looked up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := ForDestination(tt.err, httptest.NewRequest("GET", "/", nil))
			if s.Code != tt.code || s.Reason != tt.reason || s.Message != tt.message {
				t.Errorf("%d %s %q, want %d %s %q", s.Code, s.Reason, s.Message, tt.code, tt.reason, tt.message)
			}
		})
	}
}
