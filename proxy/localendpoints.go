package proxy

import (
	"errors"
	"net"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/internal/clip"
	"frontproxy/internal/fairqueue"
	"frontproxy/internal/protectedresource"
	"frontproxy/proxy/apistatus"
)

// The proxy's own paths, whatever the mapping file says.
const (
	metricsPath = "/metrics"
	statuszPath = "/statusz"
	flagzPath   = "/flagz"
)

// ownPath returns which of the proxy's own paths is asked for, as root's rights
// name it; empty: the request is for somebody else.
func (x *exchange) ownPath(r *http.Request) string {
	switch path := r.URL.Path; path {
	case metricsPath, statuszPath, flagzPath:
		return path
	}
	if _, ok := explainPath(r.URL.Path); ok && x.p.explainer != nil {
		return ExplainPath
	}
	return ""
}

// serveLocal serves one of the proxy's own paths, to somebody who may read it.
func (x *exchange) serveLocal(w http.ResponseWriter, r *http.Request) {
	if id, ok := explainPath(r.URL.Path); ok {
		x.serveExplain(w, r, id)
		return
	}
	if x.localPath == protectedresource.WellKnownPath {
		x.serveLogin(w, r)
		return
	}
	x.headerWritten, x.code = true, http.StatusOK
	switch r.URL.Path {
	case statuszPath:
		x.p.serveStatusz(w, r)
	case flagzPath:
		x.p.serveFlagz(w, r)
	default:
		x.p.metrics.ServeHTTP(w, r)
	}
}

// Debug serves /statusz, /flagz, /metrics and explanations to every client: for a
// loopback address or a Unix socket, when root is down and cannot authorize anybody.
func (p *Proxy) Debug() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{p: p}
		path := x.ownPath(r)
		switch {
		case !loopbackHost(r.Host): // a page in a browser can make a name of its own mean this address
			apistatus.Write(w, apistatus.Forbidden("the debug address must be requested as localhost or a loopback address, not as %q", clip.Clone(r.Host, maxQuoted)))
		case path == ExplainPath, path != "" && readOnly(r):
			x.serveLocal(w, r)
		default:
			apistatus.Write(w, apistatus.NotFound())
		}
	})
}

func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func readOnly(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// authorizeLocal authenticates and authorizes a request for a path of the proxy's: get,
// and for explanations of credentials post.
func (x *exchange) authorizeLocal(r *http.Request) *metav1.Status {
	path, verb := x.localPath, "get"
	switch {
	case path == ExplainPath && r.Method == http.MethodPost:
		verb = "post"
	case !readOnly(r):
		return apistatus.MethodNotAllowed("only GET is served here")
	}
	d := x.p.authenticate(r, &x.dest.Target)
	x.decision = d
	switch {
	case d.PassThrough: // there is no shard here to decide
		return apistatus.Unauthenticated(&authn.Decision{Status: http.StatusUnauthorized})
	case d.User == nil:
		return apistatus.Unauthenticated(d)
	}
	allowed := false
	if x.p.authorizer != nil {
		var err error
		allowed, err = x.p.authorizer.Authorize(r.Context(), d.User, verb, path)
		if err != nil {
			if !errors.Is(err, fairqueue.ErrFull) {
				x.p.log.Error(err, "Could not authorize a request", "path", path)
			}
			return apistatus.AuthorizationFailed(err)
		}
	}
	if !allowed {
		return apistatus.Forbidden("forbidden: User %q cannot %s path %q", d.User.GetName(), verb, path)
	}
	return nil
}
