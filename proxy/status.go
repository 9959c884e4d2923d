package proxy

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"frontproxy/authn"
)

// writeStatus answers with s as JSON: the only way a failure of the proxy's
// own reaches a client. Nothing may have been written before.
func writeStatus(w http.ResponseWriter, s *metav1.Status) {
	s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	body, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Errorf("encode a Status: %w", err)) // it has no types that fail
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	h.Set("Cache-Control", "no-cache, private")
	h.Set("X-Content-Type-Options", "nosniff")
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		h.Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
	w.WriteHeader(int(s.Code))
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
}

func failure(code int32, reason metav1.StatusReason, format string, args ...any) *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *metav1.Status {
	return failure(http.StatusBadRequest, metav1.StatusReasonBadRequest, format, args...)
}

func notFound() *metav1.Status {
	return failure(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
}

// unreachable is the answer when an upstream could not be reached; what must
// not hold its address.
func unreachable(what string) *metav1.Status {
	s := failure(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "%s could not be reached; try again later", what)
	s.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return s
}

// notAuthorisable is for who is known, but nobody can say now what they may.
func notAuthorisable() *metav1.Status {
	s := failure(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "authorisation is not possible right now; try again later")
	s.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return s
}

// tooManyReviews is for who has as many reviews under way in root as may be.
func tooManyReviews() *metav1.Status {
	s := failure(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests wait to be authorised; try again later")
	s.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return s
}

func internal() *metav1.Status {
	return failure(http.StatusInternalServerError, metav1.StatusReasonInternalError, "Internal error occurred: the proxy failed to serve this request")
}

// refusal is the answer to a request that Decide did not admit. The id, by
// which operators find the reasons, is all that the client learns about them.
func refusal(d *authn.Decision) *metav1.Status {
	s := failure(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	if d.Status == http.StatusServiceUnavailable {
		s = failure(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "authentication is not possible right now; try again later")
	}
	s.Details = &metav1.StatusDetails{UID: types.UID(d.ID), RetryAfterSeconds: seconds(d.RetryAfter)}
	return s
}

// seconds rounds up.
func seconds(d time.Duration) int32 {
	return int32(min(math.MaxInt32, (d+time.Second-1)/time.Second)) //nolint:gosec // bounded
}
