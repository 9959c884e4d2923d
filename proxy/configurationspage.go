package proxy

import (
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/zpages"
)

// asksForConfigurations reports whether a request to d asks for the state of the workspace's
// WorkspaceAuthenticationConfigurations, and returns the name of one, or "" for all. Any other
// request is for the shard.
func (g *pages) asksForConfigurations(d *destination.Destination) (name string, ok bool) {
	if g.configurations == nil || d.Kind != destination.Shard {
		return "", false
	}
	return zpages.ConfigurationName(d.Path)
}

// configurationsPage serves the state of the configurations of the request's workspace: of all, or
// of the one with the name.
//
// The shard decides who may know, asked with the caller's own identity
// (SelfSubjectAccessReview): a caller that may get the objects may read their state. One that may
// update them may also try others (POST), which costs no more than applying them. The proxy needs no right of its own.
func (x *exchange) configurationsPage(r *http.Request, name string) (http.HandlerFunc, *metav1.Status) {
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
	const group, resource = "tenancy.kcp.io", "workspaceauthenticationconfigurations"
	allowed, status := x.authorizePage(r, "about authentication configurations", authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Version: "*", Resource: resource, Name: name},
	})
	switch {
	case status != nil:
		return nil, status
	case !allowed:
		return nil, apistatus.Forbidden("%s.%s %q is forbidden: User %q cannot %s resource %q in API group %q in this workspace", resource, group, name, x.decision.User.GetName(), verb, resource, group)
	case r.Method == http.MethodPost:
		return jsonPage(x.p.pages.configurations.Try(r, x.dest.Target.Cluster))
	}
	return jsonPage(x.p.pages.configurations.Page(x.dest.Target.Cluster, name))
}
