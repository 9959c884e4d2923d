package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/audit"

	"frontproxy/authn"
	"frontproxy/authn/identity"
	"frontproxy/internal/clip"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/ratelimit"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/tokenreview"
)

const tokenReviewPath = "/apis/authentication.k8s.io/v1/tokenreviews" //nolint:gosec // a path, no secret

// tokenReviewSegments is tokenReviewPath, split.
var tokenReviewSegments = strings.Split(tokenReviewPath[1:], "/")

// reviewRate is how many TokenReviews one workspace may have.
var reviewRate = ratelimit.Rate{PerSecond: 20, Burst: 100}

// tokenReviews answers TokenReviews in workspaces. A shard knows neither the users of a
// workspace's type nor the service accounts of other shards; Decide does.
type tokenReviews struct {
	codec tokenreview.Codec
	rates *ratelimit.PerKey // by logical cluster
}

func newTokenReviews(now func() time.Time) (*tokenReviews, error) {
	codec, err := tokenreview.NewCodec()
	if err != nil {
		return nil, fmt.Errorf("TokenReviews: %w", err)
	}
	return &tokenReviews{codec: codec, rates: ratelimit.NewPerKey(reviewRate, now)}, nil
}

// reviewsToken reports whether the request is a TokenReview that the proxy answers: one in a
// workspace, by an authenticated caller. A non-nil Status refuses it.
func (x *exchange) reviewsToken(r *http.Request) (bool, *metav1.Status) {
	if x.p.reviews == nil || x.localPath != "" || x.decision.User == nil || x.dest.Exposure != destination.Trusted {
		return false, nil
	}
	creates, err := createsTokenReview(r, &x.dest)
	if err != nil {
		return false, apistatus.ForLookup(err, r)
	}
	return creates, nil
}

// createsTokenReview reports whether a request creates a TokenReview of version v1. The path
// is read as the shard reads it; the error wraps lookup.ErrAmbiguous if a segment that matters
// has two readings.
func createsTokenReview(r *http.Request, d *destination.Destination) (bool, error) {
	if d.Kind != destination.Shard || r.Method != http.MethodPost {
		return false, nil
	}
	rest := d.Path
	for _, want := range tokenReviewSegments {
		var got string
		var err error
		if got, rest, err = plainSegment(rest); err != nil || got != want {
			return false, err
		}
	}
	name, _, err := plainSegment(rest)
	return name == "", err
}

// reviewToken answers a TokenReview for which reviewsToken has returned true.
func (x *exchange) reviewToken(w http.ResponseWriter, r *http.Request) {
	body, ok := x.reviewBody(w, r)
	if !ok {
		return
	}
	negotiated, review, status := x.createReview(r, body)
	if status != nil {
		x.answer(w, status)
		return
	}
	x.response.headerWritten, x.code = true, http.StatusCreated
	if err := negotiated.Write(w, review); err != nil {
		x.response.headerWritten = false
		x.answer(w, apistatus.InternalError())
	}
}

// reviewBody reads the body, which is charged for already; false: it is too large, or did not
// arrive in time, and the client has its answer.
func (x *exchange) reviewBody(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	if x.upload == nil {
		return nil, true
	}
	x.upload.quota = math.MaxInt // in time as a whole: the decision about its sender must not become old
	var err error
	if r.ContentLength <= maxBufferedBody {
		body, err = io.ReadAll(io.LimitReader(r.Body, maxBufferedBody+1))
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.refuseBody(w, apistatus.BodyTimeout())
		return nil, false
	case err != nil:
		panic(http.ErrAbortHandler) // the client broke off: nobody reads an answer
	case r.ContentLength > maxBufferedBody || len(body) > maxBufferedBody:
		if x.upload.remains() {
			w.Header().Set("Connection", "close") // net/http would wait for the rest
		}
		x.answer(w, apistatus.TooLarge(maxBufferedBody))
		return nil, false
	}
	return body, true
}

// createReview is the answer to the TokenReview in body, unless that is a Status.
func (x *exchange) createReview(r *http.Request, body []byte) (*tokenreview.Negotiated, *authenticationv1.TokenReview, *metav1.Status) {
	if status := x.charges.startRunning(&x.p.limit, x.decision.User, &x.dest); status != nil { // the shard is asked
		return nil, nil, status
	}
	impersonation := accessreview.Impersonation(r.Header)
	if status := x.mayReview(r.Context(), impersonation); status != nil {
		return nil, nil, status
	}
	// Not before: others must not use up what the workspace's own controllers may have.
	if !x.p.reviews.rates.Allow(x.dest.Target.Cluster) {
		return nil, nil, apistatus.TooManyReviews()
	}
	negotiated, status := x.p.reviews.codec.Negotiate(r)
	if status != nil {
		return nil, nil, status
	}
	review, status := negotiated.Read(body)
	if status != nil {
		return nil, nil, status
	}
	if status := x.judgeReview(r.Context(), impersonation, review); status != nil {
		return nil, nil, status
	}
	return negotiated, review, nil
}

// mayReview asks the shard whether the caller may create TokenReviews.
func (x *exchange) mayReview(ctx context.Context, impersonation http.Header) *metav1.Status {
	allowed, err := accessreview.Self(ctx, &x.dest, x.forwardedUser, impersonation, authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "create", Group: tokenreview.Resource.Group, Version: "v1", Resource: tokenreview.Resource.Resource},
	})
	if err != nil {
		x.logFailure(err, "Could not authorize a TokenReview")
		return apistatus.AuthorizationFailed(err)
	}
	if !allowed {
		x.reviewEnds(ctx, metrics.ReviewForbidden, nil)
		name := x.forwardedUser.GetName()
		if as := impersonation.Get("Impersonate-User"); as != "" {
			name = clip.Clone(as, identity.MaxQuoted)
		}
		return apistatus.ReviewForbidden(name, tokenreview.Resource)
	}
	return nil
}

// judgeReview sets the review's status. A non-nil Status is the answer instead: the token
// cannot be judged now.
func (x *exchange) judgeReview(ctx context.Context, impersonation http.Header, review *authenticationv1.TokenReview) *metav1.Status {
	x.charges.beginClientWait() // for issuers that tenants choose: meanwhile it does not count as running
	found := x.p.config.Review(ctx, &x.dest.Target, review.Spec.Token, review.Spec.Audiences)
	x.charges.endClientWait()
	switch {
	case found.Outcome == authn.Accepted:
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: *identity.UserInfo(found.User), Audiences: found.Audiences}
		x.reviewEnds(ctx, metrics.ReviewAccepted, nil)
	case found.Outcome == authn.Undecided:
		x.reviewEnds(ctx, metrics.ReviewUndecided, found.Decision)
		return apistatus.CannotReview()
	case found.Outcome == authn.Skipped, routing.ClaimedCluster(review.Spec.Token) == x.dest.Target.Cluster:
		return x.askShard(ctx, impersonation, review)
	default:
		x.reviewEnds(ctx, metrics.ReviewRefused, found.Decision)
	}
	return nil
}

// reviewEnds records the outcome of a review, and the reasons in d, unless d is nil.
func (x *exchange) reviewEnds(ctx context.Context, outcome metrics.ReviewOutcome, d *authn.Decision) {
	x.reviewOutcome = outcome
	x.p.config.Metrics.TokenReviewed(outcome)
	audit.AddAuditAnnotation(ctx, annotationReview, string(outcome))
	if d != nil {
		audit.AddAuditAnnotation(ctx, annotationReviewReasons, reasons(d))
	}
}

// askShard sets the review's status to what the shard says, asked as the caller: the shard
// may know the token of an account of the workspace itself. Names that could be confused with a
// local account are rewritten.
func (x *exchange) askShard(ctx context.Context, impersonation http.Header, review *authenticationv1.TokenReview) *metav1.Status {
	question := &authenticationv1.TokenReview{Spec: review.Spec}
	question.SetGroupVersionKind(authenticationv1.SchemeGroupVersion.WithKind("TokenReview"))
	code, body, err := accessreview.Post(ctx, &x.dest, x.forwardedUser, impersonation, tokenReviewPath, question)
	var answer authenticationv1.TokenReview
	switch {
	case err == nil && code != http.StatusCreated && code != http.StatusOK:
		err = fmt.Errorf("the shard answers a TokenReview with %d", code)
	case err == nil:
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		x.reviewEnds(ctx, metrics.ReviewUndecided, nil)
		x.logFailure(errors.New(strings.ReplaceAll(err.Error(), review.Spec.Token, "(token)")), "The shard did not answer a TokenReview")
		return apistatus.Unreachable(x.dest.Name(), x.p.failing(x.dest.Shard))
	}
	x.reviewEnds(ctx, metrics.ReviewOfShard, nil)
	review.Status = authenticationv1.TokenReviewStatus{}
	if !answer.Status.Authenticated {
		review.Status.Error = strings.ReplaceAll(answer.Status.Error, review.Spec.Token, "(token)")
		return nil
	}
	if u, err := identity.ForReview(identity.FromUserInfo(&answer.Status.User), x.dest.Target.Cluster); err == nil {
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: *identity.UserInfo(u), Audiences: answer.Status.Audiences}
	}
	return nil
}

// logFailure logs that the shard did not answer.
func (x *exchange) logFailure(err error, message string) {
	x.p.failures.report(err, message, "cluster", x.dest.Target.Cluster, "shard", x.dest.Shard)
}
