package proxy

import (
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/authn/workspacetypes"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/zpages"
)

// explanationPage returns what writes e, unless there is a Status instead.
func explanationPage(e *zpages.Explanation, status *metav1.Status) (http.HandlerFunc, *metav1.Status) {
	if status != nil {
		return nil, status
	}
	return func(w http.ResponseWriter, _ *http.Request) { zpages.WriteJSON(w, e) }, nil
}

// explainsWorkspace says whether a request to d asks for an explanation in a workspace, and
// of which refusal. Any other request is for the shard.
func (p *Proxy) explainsWorkspace(d *destination.Destination) (id string, ok bool) {
	if p.explanations == nil || d.Kind != destination.Shard {
		return "", false
	}
	return zpages.ExplainedID(d.Path)
}

// workspacePage returns the explanation of a refusal for an administrator of the workspace
// at d: of that workspace only, and without the operator's data. u is the caller,
// authenticated like anybody's; nil: it passed through.
//
// The shard decides who administers the workspace, asked with the caller's own
// identity (SelfSubjectAccessReview): get on the non-resource URL /debug/explain
// there. The proxy needs no right of its own for that.
func (p *Proxy) workspacePage(r *http.Request, c *charges, d *destination.Destination, u user.Info, id string) (http.HandlerFunc, *metav1.Status) {
	switch {
	case r.Method != http.MethodGet || id == "":
		return nil, apistatus.MethodNotAllowed("in a workspace, use GET …%s/<id of a refusal>", zpages.ExplainPath)
	case u == nil: // the shard knows who that is, and nobody here
		return nil, apistatus.Unauthenticated(&authn.Decision{Status: http.StatusUnauthorized})
	}
	if status := c.startRunning(&p.limit, u, d); status != nil { // the shard is asked
		return nil, status
	}
	if status := p.canExplain(r, d, u); status != nil {
		return nil, status
	}
	return explanationPage(p.explanations.ForWorkspace(d.Target.Cluster, id))
}

// canExplain asks the shard at d, as the caller u or whom it impersonates, whether it may read
// explanations.
func (p *Proxy) canExplain(r *http.Request, d *destination.Destination, u user.Info) *metav1.Status {
	allowed, err := accessreview.Self(r.Context(), d, u, accessreview.Impersonation(r.Header), authorizationv1.SelfSubjectAccessReviewSpec{
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: zpages.ExplainPath, Verb: "get"},
	})
	if err != nil {
		p.Log.Error(err, "Could not authorize a request for an explanation", "cluster", d.Target.Cluster)
		return apistatus.AuthorizationFailed(err)
	}
	if !allowed {
		return apistatus.Forbidden("forbidden: User %q cannot get path %q in this workspace", u.GetName(), zpages.ExplainPath)
	}
	return nil
}

// explain goes the way of a request as far as the decision, with a credential
// in hand, and tells what it meets.
func (p *Proxy) explain(r *http.Request, change *workspacetypes.Change) (*zpages.Explanation, error) {
	out := &zpages.Explanation{Instance: p.Pages.Explainer.Refusals().Instance(), Method: r.Method, Path: r.URL.EscapedPath()}
	_, to, status := p.locate(r)
	out.Place = zpages.PlaceOf(&to.Target, to.ShardRoute)
	out.Place.Cluster, out.Place.Mount = to.ClusterPath, out.Place.Mount || to.Kind == destination.MountedHost
	out.Place.Mapping = to.Pattern
	if status != nil {
		out.Code, out.Outcome, out.Message = int(status.Code), "not routed", status.Message
		out.Answer, out.Next = p.unrouted(&to, status)
		return out, nil
	}
	if to.Trust == destination.PassThrough {
		out.AddDecision(passedThrough, false)
		out.Answer = "the mapping leaves authentication to its backend"
		return out, nil
	}
	told, err := p.Pages.Explainer.Explain(r.Context(), authnRequest(r, &to), change)
	if err != nil {
		return nil, err
	}
	out.AddAuthn(told)
	if told.Decision.Status == http.StatusOK {
		p.explainForwarding(r.Context(), out, &to)
	}
	return out, nil
}
