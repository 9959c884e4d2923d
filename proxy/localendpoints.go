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
	"frontproxy/proxy/zpages"
)

// maxQuotedHost bounds what an answer quotes of a request's host, in bytes.
const maxQuotedHost = 256

// ownPath returns which of the proxy's own paths is asked for, as root's rights
// name it; empty: the request is for somebody else.
func (x *exchange) ownPath(r *http.Request) string {
	switch path := r.URL.Path; path {
	case zpages.MetricsPath, zpages.StatuszPath, zpages.FlagzPath:
		return path
	}
	if _, ok := zpages.ExplainedID(r.URL.Path); ok && x.p.explanations != nil {
		return zpages.ExplainPath
	}
	return ""
}

// serveLocal serves one of the proxy's own paths, to somebody who may read it.
func (x *exchange) serveLocal(w http.ResponseWriter, r *http.Request) {
	if id, ok := zpages.ExplainedID(r.URL.Path); ok {
		x.serveExplain(w, r, id)
		return
	}
	if x.localPath == protectedresource.WellKnownPath {
		x.serveLogin(w, r)
		return
	}
	x.headerWritten, x.code = true, http.StatusOK
	switch r.URL.Path {
	case zpages.StatuszPath:
		x.p.status.ServeStatusz(w, r, x.p.now())
	case zpages.FlagzPath:
		zpages.ServeFlagz(w, r, x.p.flags)
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
			apistatus.Write(w, apistatus.Forbidden("the debug address must be requested as localhost or a loopback address, not as %q", clip.Clone(r.Host, maxQuotedHost)))
		case path == zpages.ExplainPath, path != "" && readOnly(r):
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
	case path == zpages.ExplainPath && r.Method == http.MethodPost:
		verb = "post"
	case !readOnly(r):
		return apistatus.MethodNotAllowed("only GET is served here")
	}
	d := x.p.authenticate(r, &x.dest)
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
