package proxy

import (
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/zpages"
)

// asksForConfigurations says whether a request to d asks for the state of the workspace's
// WorkspaceAuthenticationConfigurations, and of which; empty: of all. Any other request is for
// the shard.
func (p *Proxy) asksForConfigurations(d *destination.Destination) (name string, ok bool) {
	if p.configurations == nil || d.Kind != destination.Shard {
		return "", false
	}
	return zpages.ConfigurationName(d.Path)
}

// configurationsPage serves the state of the configurations of the workspace at d: of all, or of
// the one with the name. u is the caller, authenticated like anybody's; nil: it passed through.
//
// The shard decides who may know, asked with the caller's own identity
// (SelfSubjectAccessReview): whoever may get the objects. Who may update them may also try
// others (POST), which costs no more than applying them. The proxy needs no right of its own.
func (p *Proxy) configurationsPage(r *http.Request, c *charges, d *destination.Destination, u user.Info, name string) (http.HandlerFunc, *metav1.Status) {
	verb := "get"
	switch {
	case r.Method == http.MethodPost && name == "":
		verb = "update"
		if !isBuffered(r) { // its memory is charged only then
			return nil, apistatus.BadRequest("the configurations to try need a Content-Length from 1 to %d bytes", maxBufferedBody)
		}
	case r.Method != http.MethodGet:
		return nil, apistatus.MethodNotAllowed("use GET …%s, GET …%s/<name>, or POST …%s", zpages.AuthenticationPath, zpages.AuthenticationPath, zpages.AuthenticationPath)
	}
	if u == nil { // the shard knows who that is, and nobody here
		return nil, apistatus.Unauthenticated(&authn.Decision{Status: http.StatusUnauthorized})
	}
	if status := c.startRunning(&p.limit, u, d); status != nil { // the shard is asked
		return nil, status
	}
	if status := p.mayConfigurations(r, d, u, verb, name); status != nil {
		return nil, status
	}
	var page *zpages.ConfigurationsPage
	var status *metav1.Status
	if r.Method == http.MethodPost {
		page, status = p.configurations.Try(r, d.Target.Cluster)
	} else {
		page, status = p.configurations.Page(d.Target.Cluster, name)
	}
	if status != nil {
		return nil, status
	}
	return func(w http.ResponseWriter, _ *http.Request) { zpages.WriteJSON(w, page) }, nil
}

// mayConfigurations asks the shard at d whether u, or whom it impersonates, may do verb with the
// workspace's configuration name; empty: with all.
func (p *Proxy) mayConfigurations(r *http.Request, d *destination.Destination, u user.Info, verb, name string) *metav1.Status {
	const group, resource = "tenancy.kcp.io", "workspaceauthenticationconfigurations"
	allowed, err := accessreview.Self(r.Context(), d, u, accessreview.Impersonation(r.Header), authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Version: "*", Resource: resource, Name: name},
	})
	if err != nil {
		p.Log.Error(err, "Could not authorize a request about authentication configurations", "cluster", d.Target.Cluster)
		return apistatus.AuthorizationFailed(err)
	}
	if !allowed {
		return apistatus.Forbidden("%s.%s %q is forbidden: User %q cannot %s resource %q in API group %q in this workspace", resource, group, name, u.GetName(), verb, resource, group)
	}
	return nil
}
