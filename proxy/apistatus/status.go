package apistatus

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"frontproxy/authn"
	"frontproxy/internal/fairqueue"
)

// How long a client is asked to wait, in seconds.
const (
	// undecidedSeconds is for a 503 because the workspace was not found yet, or because it
	// cannot be told whether the caller is good.
	undecidedSeconds = 2
	// soonSeconds is for a 429, and for a 503 because a server did not answer.
	soonSeconds = 1
)

// Write answers with s as JSON: the only way a failure of the proxy's own reaches a
// client. Nothing may have been written before. It sets the TypeMeta of s.
func Write(w http.ResponseWriter, s *metav1.Status) {
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

// New makes a failure whose message clients may read.
func New(code int32, reason metav1.StatusReason, format string, args ...any) *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// BadRequest is a 400.
func BadRequest(format string, args ...any) *metav1.Status {
	return New(http.StatusBadRequest, metav1.StatusReasonBadRequest, format, args...)
}

// Forbidden is a 403.
func Forbidden(format string, args ...any) *metav1.Status {
	return New(http.StatusForbidden, metav1.StatusReasonForbidden, format, args...)
}

// NotFound is a 404 for a path at which nothing is served.
func NotFound() *metav1.Status {
	return New(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
}

// MethodNotAllowed is a 405; the message says what is allowed.
func MethodNotAllowed(format string, args ...any) *metav1.Status {
	return New(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, format, args...)
}

// TooManyRequests is a 429: who says whose limit is reached, as in "the proxy has".
func TooManyRequests(who string) *metav1.Status {
	return retrySoon(New(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "%s too many requests under way, please try again later", who))
}

// TooManyStreams is a 429: who says whose limit is reached, as in "you have".
func TooManyStreams(who string) *metav1.Status {
	return retrySoon(New(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "%s too many watches or other streams open, please try again later", who))
}

// TooManyExplanations is a 429 for requests to explain something.
func TooManyExplanations() *metav1.Status {
	return retrySoon(New(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests for explanations; try again later"))
}

// InternalError is a 500.
func InternalError() *metav1.Status {
	return New(http.StatusInternalServerError, metav1.StatusReasonInternalError, "Internal error occurred: the proxy failed to serve this request")
}

// longOutage is how long an upstream must have been unreachable for clients not to be asked to
// try again soon: client-go repeats each request ten times if they are, and kubectl does
// that for each request of its discovery before it says anything.
const longOutage = 30 * time.Second

// Unreachable is a 503 for an upstream that could not be reached; what names it and
// must not hold its address. The client is asked to try again soon, unless the upstream has
// been failing for more than 30 s; 0: it has not, or that is not known.
func Unreachable(what string, failing time.Duration) *metav1.Status {
	if failing > longOutage {
		return New(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable,
			"%s has not been reachable for %v; tell whoever operates kcp, or try again later", what, failing.Truncate(time.Second))
	}
	return retrySoon(New(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "%s could not be reached; try again later", what))
}

// Unusable is a 503 for a host that a tenant mounted and that no request can use before its owner
// has mended it. So clients are not asked to try again: kubectl would, for most of a minute, before it
// says anything. what names the host and must not hold its address.
func Unusable(what, why string) *metav1.Status {
	return New(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "%s cannot be used: %s; tell the owner of the workspace", what, why)
}

// Unauthenticated is the answer to a request that Decide did not admit: 401, or 503
// when that could not be decided. The ID, by which administrators find the reasons, is all
// that the client learns about them; the message says besides what kind of credential it sent.
func Unauthenticated(d *authn.Decision) *metav1.Status {
	s, details := New(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized: %s", refused[d.Credential]), metav1.StatusDetails{UID: types.UID(d.ID)}
	if d.Status == http.StatusServiceUnavailable {
		details.RetryAfterSeconds = undecidedSeconds
		s = New(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "authentication is not possible right now; try again later")
	}
	if d.ID != "" {
		s.Message += "; an administrator can find out why by this id: " + d.ID
	}
	s.Details = &details
	return s
}

// refused is what a 401 says of the credential.
var refused = map[authn.CredentialKind]string{
	authn.NoCredential:        "the request has no credentials that are used here; log in first",
	authn.TokenCredential:     "the token was not accepted; log in again if it may have expired",
	authn.CertificateOnly:     "the client certificate was not accepted",
	authn.MalformedCredential: "the credentials could not be read",
}

// AuthorizationFailed is the answer to an authenticated request when err kept the
// proxy from finding out what its user may do: 429 when err is fairqueue.ErrFull, for
// the user has as many reviews under way as allowed; else 503.
func AuthorizationFailed(err error) *metav1.Status {
	if errors.Is(err, fairqueue.ErrFull) {
		return retrySoon(New(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests are waiting for authorization; try again later"))
	}
	return retrySoon(New(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "authorization is not possible right now; try again later"))
}

// retrySoon asks the client to try again soon.
func retrySoon(s *metav1.Status) *metav1.Status {
	s.Details = &metav1.StatusDetails{RetryAfterSeconds: soonSeconds}
	return s
}
