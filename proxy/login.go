package proxy

import (
	"net/http"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/internal/protectedresource"
	"frontproxy/lookup"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/logindiscovery"
)

// asksForLogin says whether r is for protected resource metadata. A mapping that
// names the very path goes before.
func (p *Proxy) asksForLogin(r *http.Request) bool {
	if p.login == nil || !strings.HasPrefix(r.URL.Path, protectedresource.WellKnownPath) {
		return false
	}
	path, err := lookup.RawPath(r)
	if err != nil || !logindiscovery.Owns(path) {
		return false
	}
	pattern, err := p.router.Pattern(path)
	return err == nil && !strings.HasPrefix(pattern, protectedresource.WellKnownPath)
}

// serveLogin answers anybody.
func (x *exchange) serveLogin(w http.ResponseWriter, r *http.Request) {
	if !readOnly(r) {
		x.answer(w, apistatus.MethodNotAllowed("only GET is served here"))
		return
	}
	body := x.p.login.Metadata(r.URL.EscapedPath(), r.Host)
	if body == nil {
		x.answer(w, apistatus.NotFound())
		return
	}
	x.headerWritten, x.code = true, http.StatusOK
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-cache, private")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) //nolint:gosec // JSON, nosniff; a client that is gone needs no answer
}

// challenge makes a 401 of the proxy say where to log in. For a mount it says
// nothing, because this workspace's type does not decide who is admitted there.
func (x *exchange) challenge(w http.ResponseWriter, r *http.Request, status *metav1.Status) {
	if x.p.login == nil || status.Code != http.StatusUnauthorized || x.dest.Kind != destination.Shard || len(x.dest.Mounts) > 0 {
		return
	}
	if value := x.p.login.Challenge(x.dest.ClusterPath, r.Host, &x.dest.Target, authn.PresentsToken(r.Header)); value != "" {
		w.Header().Set("WWW-Authenticate", value)
	}
}
