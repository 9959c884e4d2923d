package apistatus

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"frontproxy/authn"
	"frontproxy/authn/token"
	"frontproxy/internal/fairqueue"
)

func TestWrite(t *testing.T) {
	type answer struct {
		Code             int
		RetryAfter, Body string
	}
	for _, tt := range []struct {
		name   string
		status *metav1.Status
		want   answer
	}{
		{"nothing there", NotFound(), answer{404, "",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","code":404}`}},
		{"refused", Unauthenticated(&authn.Decision{ID: "a-1", Status: http.StatusUnauthorized}), answer{401, "",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized: the request has no credentials that are used here; log in first; an administrator can find out why by this id: a-1","reason":"Unauthorized","details":{"uid":"a-1"},"code":401}`}},
		{"refused without an id", Unauthenticated(&authn.Decision{Credential: authn.TokenCredential, Status: http.StatusUnauthorized}), answer{401, "",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized: the token was not accepted; log in again if it may have expired","reason":"Unauthorized","details":{},"code":401}`}},
		{"configurations that nobody can tell now", ForConfigurations(fmt.Errorf("root: %w", token.ErrUndecided)), answer{503, "",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"root: could not decide","reason":"ServiceUnavailable","code":503}`}},
		{"no configurations", ForConfigurations(errors.New("no such workspace")), answer{404, "",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no such workspace","reason":"NotFound","code":404}`}},
		{"no TokenReviews for this user", ReviewForbidden("alice", schema.GroupResource{Group: "authentication.k8s.io", Resource: "tokenreviews"}), answer{403, "",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"tokenreviews.authentication.k8s.io is forbidden: User \"alice\" cannot create resource \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster scope","reason":"Forbidden","details":{"group":"authentication.k8s.io","kind":"tokenreviews"},"code":403}`}},
		{"a shard that is down", Unreachable("shard \"s\"", 0), answer{503, "1",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"shard \"s\" could not be reached; try again later","reason":"ServiceUnavailable","details":{"retryAfterSeconds":1},"code":503}`}},
		{"a shard that has been down for 30 s", Unreachable("shard \"s\"", 30*time.Second), answer{503, "1",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"shard \"s\" could not be reached; try again later","reason":"ServiceUnavailable","details":{"retryAfterSeconds":1},"code":503}`}},
		{"a shard that has been down for longer", Unreachable("shard \"s\"", 167*time.Second+1), answer{503, "",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"shard \"s\" has not been reachable for 2m47s; tell whoever operates kcp, or try again later","reason":"ServiceUnavailable","code":503}`}},
		{"undecided", Unauthenticated(&authn.Decision{ID: "a-2", Status: http.StatusServiceUnavailable}), answer{503, "2",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"authentication is not possible right now; try again later; an administrator can find out why by this id: a-2","reason":"ServiceUnavailable","details":{"uid":"a-2","retryAfterSeconds":2},"code":503}`}},
		{"too many reviews", AuthorizationFailed(fmt.Errorf("ask: %w", fairqueue.ErrFull)), answer{429, "1",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too many requests are waiting for authorization; try again later","reason":"TooManyRequests","details":{"retryAfterSeconds":1},"code":429}`}},
		{"review failed", AuthorizationFailed(errors.New("10.0.0.1 is down")), answer{503, "1",
			`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"authorization is not possible right now; try again later","reason":"ServiceUnavailable","details":{"retryAfterSeconds":1},"code":503}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			Write(w, tt.status)
			got := answer{w.Code, w.Header().Get("Retry-After"), w.Body.String()}
			tt.want.Body += "\n"
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the answer (-want +got):\n%s", diff)
			}
			if length := w.Header().Get("Content-Length"); length != fmt.Sprint(len(got.Body)) {
				t.Errorf("Content-Length is %s, the body has %d bytes", length, len(got.Body))
			}
		})
	}
}
