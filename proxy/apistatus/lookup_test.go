package apistatus

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/index"
	"frontproxy/lookup"
)

func TestForLookup(t *testing.T) {
	type answer struct {
		Code    int32
		Reason  metav1.StatusReason
		Retry   bool
		Message string
	}
	for _, tt := range []struct {
		name, path string
		err        error
		want       answer
	}{
		{"unknown, a resource", "/clusters/root:nope/api/v1/namespaces", fmt.Errorf("find: %w", index.ErrUnknown), answer{403, metav1.StatusReasonForbidden, false,
			`forbidden: User "" cannot get path "/clusters/root:nope/api/v1/namespaces": workspace access not permitted`}},
		{"unknown, no resource", "/clusters/root:nope/version", index.ErrUnknown, answer{403, metav1.StatusReasonForbidden, false,
			`forbidden: User "" cannot get path "/clusters/root:nope/version": workspace access not permitted`}},
		{"no cluster path", "/clusters/*/api", lookup.ErrNotACluster, answer{403, metav1.StatusReasonForbidden, false,
			`forbidden: User "" cannot get path "/clusters/*/api": workspace access not permitted`}},
		{"ambiguous", "/clusters", fmt.Errorf("%w: dot segment", lookup.ErrAmbiguous), answer{400, metav1.StatusReasonBadRequest, false, "the request path is ambiguous: dot segment"}},
		{"not synced", "/", index.ErrNotSynced, answer{503, metav1.StatusReasonServiceUnavailable, true, "not all shards have been read yet; try again later"}},
		{"unavailable", "/", index.ErrUnavailable, answer{503, metav1.StatusReasonServiceUnavailable, true, "the workspace is unavailable; try again later"}},
		{"conflict", "/", index.ErrConflict, answer{503, metav1.StatusReasonServiceUnavailable, true, "the workspace is being moved; try again later"}},
		{"anything else", "/", errors.New("boom at 10.0.0.1"), answer{500, metav1.StatusReasonInternalError, false, "Internal error occurred: the workspace could not be looked up"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := ForLookup(tt.err, httptest.NewRequest("GET", tt.path, nil))
			got := answer{s.Code, s.Reason, s.Details != nil && s.Details.RetryAfterSeconds > 0, s.Message}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Status (-want +got):\n%s", diff)
			}
			if s.Status != metav1.StatusFailure {
				t.Errorf("status is %q", s.Status)
			}
		})
	}
}
