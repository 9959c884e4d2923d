package proxy

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
)

// metricsPath is the proxy's own, whatever the mapping file says.
const metricsPath = "/metrics"

// local serves what the proxy tells of itself: to whom Decide knows, whatever
// the cluster, and root lets read it. False: r is for somebody else.
func (x *exchange) local(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != metricsPath {
		return false
	}
	if status := x.admit(r, metricsPath); status != nil {
		x.answer(w, status)
		return true
	}
	x.begun, x.code = true, http.StatusOK
	x.p.metrics.page.ServeHTTP(w, r)
	return true
}

// admit authenticates and authorises a request to read a path of the proxy's.
func (x *exchange) admit(r *http.Request, path string) *metav1.Status {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return failure(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "only GET is served here")
	}
	x.ask(r)
	d := x.decision
	switch {
	case d.PassThrough: // there is no shard here to decide
		return refusal(&authn.Decision{Status: http.StatusUnauthorized})
	case d.User == nil:
		return refusal(d)
	}
	allowed := false
	if x.p.authorizer != nil {
		var err error
		if allowed, err = x.p.authorizer.Authorize(r.Context(), d.User, "get", path); err != nil {
			x.p.log.Error(err, "Request could not be authorised", "path", path)
			s := failure(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "authorisation is not possible right now; try again later")
			s.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
			return s
		}
	}
	if !allowed {
		return failure(http.StatusForbidden, metav1.StatusReasonForbidden, "forbidden: User %q cannot get path %q", d.User.GetName(), path)
	}
	return nil
}
