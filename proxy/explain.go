package proxy

import (
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/authn/workspacetypes"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/zpages"
)

// explainsWorkspace reports whether a request to d asks for an explanation in a workspace, and of
// the refusal with which id. Any other request is for the shard.
func (g *pages) explainsWorkspace(d *destination.Destination) (id string, ok bool) {
	if g.explanations == nil || d.Kind != destination.Shard {
		return "", false
	}
	return zpages.ExplainedID(d.Path)
}

// workspacePage returns the explanation of a refusal for an administrator of the request's
// workspace: of that workspace only, and without the operator's data.
//
// The shard decides who administers the workspace, asked with the caller's own
// identity (SelfSubjectAccessReview): get on the non-resource URL /debug/explain
// there. The proxy needs no right of its own for that.
func (x *exchange) workspacePage(r *http.Request, id string) (http.HandlerFunc, *metav1.Status) {
	if r.Method != http.MethodGet || id == "" {
		return nil, apistatus.MethodNotAllowed("in a workspace, use GET …%s/<id of a refusal>", zpages.ExplainPath)
	}
	allowed, status := x.authorizePage(r, "for an explanation", authorizationv1.SelfSubjectAccessReviewSpec{
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: zpages.ExplainPath, Verb: "get"},
	})
	switch {
	case status != nil:
		return nil, status
	case !allowed:
		return nil, apistatus.Forbidden("forbidden: User %q cannot get path %q in this workspace", x.decision.User.GetName(), zpages.ExplainPath)
	}
	return jsonPage(x.p.pages.explanations.ForWorkspace(x.dest.Target.Cluster, id))
}

// authorizePage asks the workspace's shard whether the caller, or whom it impersonates, may do what
// spec says, as a page of the workspace requires. The log says what the request was. A non-nil
// Status answers the request: it could not be asked.
func (x *exchange) authorizePage(r *http.Request, what string, spec authorizationv1.SelfSubjectAccessReviewSpec) (allowed bool, status *metav1.Status) {
	u := x.decision.User
	if u == nil { // it passed through: the shard knows who that is, and nobody here
		return false, apistatus.Unauthenticated(&authn.Decision{Status: http.StatusUnauthorized})
	}
	if status := x.charges.startRunning(&x.p.limit, u, &x.dest); status != nil { // the shard is asked
		return false, status
	}
	allowed, err := accessreview.Self(r.Context(), &x.dest, u, accessreview.Impersonation(r.Header), spec)
	if err != nil {
		x.p.config.Log.Error(err, "Could not authorize a request "+what, "cluster", x.dest.Target.Cluster)
		return false, apistatus.AuthorizationFailed(err)
	}
	return allowed, nil
}

// explain evaluates a hypothetical request up to the decision, and reports each step. If the
// request is admitted, it also reports whether its server can be reached.
func (p *Proxy) explain(r *http.Request, change *workspacetypes.Change) (*zpages.Explanation, error) {
	out := &zpages.Explanation{Instance: p.config.Pages.Explainer.Refusals().Instance(), AskedRequest: zpages.AskedRequest{Method: r.Method, Path: r.URL.EscapedPath()}}
	_, to, status := p.resolve(r)
	out.Place = zpages.PlaceOf(&to.Target, to.ShardRoute)
	out.Place.Cluster, out.Place.Mount = to.ClusterPath, out.Place.Mount || to.Kind == destination.MountedHost
	out.Place.Mapping = to.Pattern
	if status != nil {
		out.Code, out.Outcome, out.Message = int(status.Code), "not routed", status.Message
		out.Answer, out.Next = p.unrouted(&to, status)
		return out, nil
	}
	if to.Exposure == destination.PassThrough {
		out.AddDecision(passedThrough, false)
		out.Answer = "the mapping leaves authentication to its backend"
		return out, nil
	}
	told, err := p.config.Pages.Explainer.Explain(r.Context(), authnRequest(r, &to), change)
	if err != nil {
		return nil, err
	}
	out.AddAuthn(told)
	if told.Decision.Status == http.StatusOK {
		p.explainForwarding(r.Context(), out, &to)
	}
	return out, nil
}
