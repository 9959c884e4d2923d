package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/authn/workspacetypes"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/zpages"
)

// serveExplain explains to an operator; the caller has already been authorized.
func (x *exchange) serveExplain(w http.ResponseWriter, r *http.Request, id string) {
	e, status := x.p.explanations.ForOperator(r, id)
	x.answerExplanation(w, e, status)
}

// answerExplanation answers with status or, when there is none, with e.
func (x *exchange) answerExplanation(w http.ResponseWriter, e *zpages.Explanation, status *metav1.Status) {
	if status != nil {
		x.answer(w, status)
		return
	}
	x.headerWritten, x.code = true, http.StatusOK
	zpages.WriteJSON(w, e)
}

// explainsWorkspace answers an administrator of the workspace in a path below
// /clusters/, about refusals of that workspace only, and without the operator's data.
// False means that the request is for the shard. The question has been authenticated
// like any request.
//
// The shard decides who administers the workspace, asked with the caller's own
// identity (SelfSubjectAccessReview): get on the non-resource URL /debug/explain
// there. The proxy needs no right of its own for that.
func (x *exchange) explainsWorkspace(w http.ResponseWriter, r *http.Request) bool {
	if x.p.explanations == nil || x.dest.Kind != destination.Shard {
		return false
	}
	id, ok := zpages.ExplainedID(x.dest.Path)
	if !ok {
		return false
	}
	switch {
	case r.Method != http.MethodGet || id == "":
		x.answer(w, apistatus.MethodNotAllowed("in a workspace, use GET …%s/<id of a refusal>", zpages.ExplainPath))
		return true
	case x.decision.User == nil: // passed through: the shard knows who that is, and nobody here
		x.answer(w, apistatus.Unauthenticated(&authn.Decision{Status: http.StatusUnauthorized}))
		return true
	}
	if status := x.charges.startRunning(&x.p.limit, x.decision.User, &x.dest); status != nil { // the shard is asked
		x.answer(w, status)
		return true
	}
	if status := x.canExplain(r.Context()); status != nil {
		x.answer(w, status)
		return true
	}
	e, status := x.p.explanations.ForWorkspace(x.dest.Target.Cluster, id)
	x.answerExplanation(w, e, status)
	return true
}

// maxReview bounds a shard's answer to a review, in bytes.
const maxReview = 1 << 20

const selfReviewPath = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

// canExplain asks the shard, as the caller, whether it may read explanations.
func (x *exchange) canExplain(ctx context.Context) *metav1.Status {
	allowed, err := x.selfReview(ctx)
	if err != nil {
		x.p.log.Error(err, "Could not authorize a request for an explanation", "cluster", x.dest.Target.Cluster)
		return apistatus.AuthorizationFailed(err)
	}
	if !allowed {
		return apistatus.Forbidden("forbidden: User %q cannot get path %q in this workspace", x.decision.User.GetName(), zpages.ExplainPath)
	}
	return nil
}

func (x *exchange) selfReview(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	review := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"},
		Spec:     authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: zpages.ExplainPath, Verb: "get"}},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return false, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, x.dest.Base.String(), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	q.URL = &url.URL{}
	x.dest.SetURL(q.URL, selfReviewPath)
	q.Header.Set("Content-Type", "application/json")
	x.dest.Headers.Set(q.Header, x.decision.User)
	resp, err := x.dest.Transport.RoundTrip(q)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxReview))
	switch {
	case err != nil:
		return false, err
	case resp.StatusCode == http.StatusForbidden: // not even that: no access to the workspace
		return false, nil
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		return false, fmt.Errorf("the shard answers a SelfSubjectAccessReview with %s", resp.Status)
	}
	*review = authorizationv1.SelfSubjectAccessReview{}
	if err := json.Unmarshal(answer, review); err != nil {
		return false, fmt.Errorf("the shard's answer is not a SelfSubjectAccessReview: %w", err)
	}
	return review.Status.Allowed, nil
}

// explain goes the way of a request as far as the decision, with a credential
// in hand, and tells what it meets.
func (p *Proxy) explain(r *http.Request, change *workspacetypes.Change) (*zpages.Explanation, error) {
	out := &zpages.Explanation{Instance: p.explainer.Refusals().Instance(), Method: r.Method, Path: r.URL.EscapedPath()}
	_, to, status := p.locate(r)
	out.Place = zpages.PlaceOf(&to.Target, to.ShardRoute)
	out.Place.Cluster, out.Place.Mount = to.ClusterPath, out.Place.Mount || to.Kind == destination.MountedHost
	out.Place.Mapping = to.Pattern
	if status != nil {
		out.Code, out.Outcome, out.Message = int(status.Code), "not authenticated", status.Message
		return out, nil
	}
	if to.Trust == destination.PassThrough {
		out.AddDecision(passedThrough, false)
		out.Message = "the mapping leaves authentication to its backend"
		return out, nil
	}
	told, err := p.explainer.Explain(r.Context(), authnRequest(r, &to), change)
	if err != nil {
		return nil, err
	}
	out.AddAuthn(told)
	return out, nil
}
