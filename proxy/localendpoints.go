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
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/zpages"
)

// maxQuotedHost bounds what an answer quotes of a request's host, in bytes.
const maxQuotedHost = 256

// pages are the pages that the proxy serves about itself and about workspaces.
type pages struct {
	explanations *zpages.Explanations // nil: nothing is explained
	// configurations tells owners about their configurations; nil: that page does not exist.
	configurations *zpages.Configurations
	expired        *zpages.ExpiredCertificates
}

// localPath is pagePath, or where the proxy says where to log in, if r asks for that.
func (p *Proxy) localPath(r *http.Request) string {
	if path := p.pages.pagePath(r); path != "" {
		return path
	}
	if p.asksForLogin(r) {
		return protectedresource.WellKnownPath
	}
	return ""
}

// pagePath returns which of the proxy's own paths is asked for, as RBAC in root names
// it; empty: the request is for somebody else.
func (g *pages) pagePath(r *http.Request) string {
	switch path := r.URL.Path; path {
	case zpages.MetricsPath, zpages.StatuszPath, zpages.FlagzPath:
		return path
	}
	if _, ok := zpages.ExplainedID(r.URL.Path); ok && g.explanations != nil {
		return zpages.ExplainPath
	}
	return ""
}

// admitLocal authenticates and authorizes a request for x.localPath. Anybody may read where to log
// in.
func (x *exchange) admitLocal(r *http.Request) *metav1.Status {
	if x.localPath == protectedresource.WellKnownPath {
		return nil
	}
	return x.authenticateCharged(r, func(r *http.Request, noWait bool) (status *metav1.Status) {
		x.decision, status = x.p.authorizeLocal(r, x.charges, x.localPath, noWait)
		return status
	})
}

// authorizeLocal authenticates and authorizes a request for a path of the proxy's: get,
// and for explanations of credentials post. noWait: nobody is waited for. A non-nil Status
// refuses it; the decision, which may be nil then, is returned for records.
func (p *Proxy) authorizeLocal(r *http.Request, c *charges, path string, noWait bool) (*authn.Decision, *metav1.Status) {
	verb := "get"
	switch {
	case path == zpages.ExplainPath && r.Method == http.MethodPost:
		verb = "post"
	case !readOnly(r):
		return nil, apistatus.MethodNotAllowed("only GET is served here")
	}
	if len(accessreview.Impersonation(r.Header)) > 0 { // root could be asked about either user, and both would be surprised
		return nil, apistatus.Forbidden("forbidden: the proxy's own pages are served to callers as themselves: send no Impersonate-* headers (kubectl --as)")
	}
	d := p.authenticate(r, &destination.Destination{}, noWait)
	switch {
	case d.PassThrough: // there is no shard here to decide
		return d, apistatus.Unauthenticated(&authn.Decision{Status: http.StatusUnauthorized})
	case d.User == nil:
		return d, apistatus.Unauthenticated(d)
	}
	if status := p.rates.checkCallerRate(r, c, d, path, false); status != nil {
		return d, status
	}
	allowed := false
	if p.config.Pages.Authorizer != nil {
		var err error
		allowed, err = p.config.Pages.Authorizer.Authorize(r.Context(), accessreview.Access{User: d.User, Verb: verb, Path: path, NoWait: noWait})
		if err != nil {
			if !errors.Is(err, fairqueue.ErrFull) {
				p.config.Log.Error(err, "Could not authorize a request", "path", path)
			}
			return d, apistatus.AuthorizationFailed(err)
		}
	}
	if !allowed {
		return d, apistatus.Forbidden("forbidden: User %q cannot %s path %q", d.User.GetName(), verb, path)
	}
	return d, nil
}

// answerLocally answers what the proxy answers by itself: its own pages, the pages of workspaces,
// and TokenReviews. False: the request is to be forwarded.
func (x *exchange) answerLocally(w http.ResponseWriter, r *http.Request) bool {
	reviews, status := x.reviewsToken(r)
	if reviews {
		x.reviewToken(w, r)
		return true
	}
	var page http.HandlerFunc
	if status == nil {
		page, status = x.findPage(r)
	}
	switch {
	case status != nil:
		x.answer(w, status)
	case page != nil:
		x.response.headerWritten, x.code = true, http.StatusOK
		page(w, r)
	default:
		return false
	}
	return true
}

// findPage returns what writes the page that is asked for, or a Status instead. Both are nil if
// none is asked for.
func (x *exchange) findPage(r *http.Request) (http.HandlerFunc, *metav1.Status) {
	if x.localPath != "" {
		return x.p.localPage(r, x.localPath)
	}
	if id, ok := x.p.pages.explainsWorkspace(&x.dest); ok {
		return x.workspacePage(r, id)
	}
	if name, ok := x.p.pages.asksForConfigurations(&x.dest); ok {
		return x.configurationsPage(r, name)
	}
	return nil, nil
}

// localPage returns what writes the page at path, one of the proxy's own (pagePath, or
// protectedresource.WellKnownPath), for somebody who may read it. A Status is there instead
// if there is no such page.
func (p *Proxy) localPage(r *http.Request, path string) (http.HandlerFunc, *metav1.Status) {
	if id, ok := zpages.ExplainedID(r.URL.Path); ok {
		return jsonPage(p.pages.explanations.ForOperator(r, id))
	}
	switch path {
	case protectedresource.WellKnownPath:
		return p.loginPage(r)
	case zpages.StatuszPath:
		return func(w http.ResponseWriter, r *http.Request) { p.config.Pages.Status.ServeStatusz(w, r, p.config.Now()) }, nil
	case zpages.FlagzPath:
		return func(w http.ResponseWriter, r *http.Request) { zpages.ServeFlagz(w, r, p.config.Pages.Flags) }, nil
	}
	return p.config.Metrics.ServeHTTP, nil
}

// jsonPage returns what writes v, unless there is a Status instead.
func jsonPage[T any](v T, status *metav1.Status) (http.HandlerFunc, *metav1.Status) {
	if status != nil {
		return nil, status
	}
	return func(w http.ResponseWriter, _ *http.Request) { zpages.WriteJSON(w, v) }, nil
}

// Debug serves /statusz, /flagz, /metrics and explanations to every client: for a
// loopback address or a Unix socket, when root is down and cannot authorize anybody.
func (p *Proxy) Debug() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := p.pages.pagePath(r)
		switch {
		case !loopbackHost(r.Host): // a page in a browser can make a name of its own mean this address
			apistatus.Write(w, apistatus.Forbidden("the debug address must be requested as localhost or a loopback address, not as %q", clip.Clone(r.Host, maxQuotedHost)))
		case path == zpages.ExplainPath, path != "" && readOnly(r):
			page, status := p.localPage(r, path)
			if status != nil {
				apistatus.Write(w, status)
				return
			}
			page(w, r)
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
