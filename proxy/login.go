package proxy

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/internal/protectedresource"
	"frontproxy/lookup"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/logindiscovery"
)

// asksForLogin reports whether r is for protected resource metadata. A mapping that
// names the very path goes before.
func (p *Proxy) asksForLogin(r *http.Request) bool {
	if p.config.Pages.LoginDiscovery == nil || !strings.HasPrefix(r.URL.Path, protectedresource.WellKnownPath) {
		return false
	}
	path, err := lookup.RawPath(r)
	if err != nil || !logindiscovery.Owns(path) {
		return false
	}
	pattern, err := p.router.Pattern(path)
	return err == nil && !strings.HasPrefix(pattern, protectedresource.WellKnownPath)
}

// loginPage returns the page of protected resource metadata, which anybody may read.
func (p *Proxy) loginPage(r *http.Request) (http.HandlerFunc, *metav1.Status) {
	if !readOnly(r) {
		return nil, apistatus.MethodNotAllowed("only GET is served here")
	}
	metadata := p.config.Pages.LoginDiscovery.Metadata(r.URL.EscapedPath(), r.Host)
	if metadata == nil {
		return nil, apistatus.NotFound()
	}
	return jsonPage(metadata, nil)
}

// challenge makes the proxy's own 401 to r, which was for d, say where to log in. For a
// mount it says nothing, because this workspace's type does not decide who is admitted there.
func (p *Proxy) challenge(w http.ResponseWriter, r *http.Request, d *destination.Destination) {
	if p.config.Pages.LoginDiscovery == nil || d.Kind != destination.Shard || len(d.Mounts) > 0 {
		return
	}
	if value := p.config.Pages.LoginDiscovery.Challenge(d.ClusterPath, r.Host, &d.Target, authn.PresentsToken(r.Header)); value != "" {
		w.Header().Set("WWW-Authenticate", value)
	}
}
