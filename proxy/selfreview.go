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
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/proxy/destination"
)

// maxReview bounds a shard's answer to a review, in bytes.
const maxReview = 1 << 20

const selfReviewPath = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

// selfReview asks the shard at d whether u may do in the workspace what spec says
// (SelfSubjectAccessReview), under u's own identity. An error means that the shard did not
// say.
func selfReview(ctx context.Context, d *destination.Destination, u user.Info, spec authorizationv1.SelfSubjectAccessReviewSpec) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	review := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"},
		Spec:     spec,
	}
	body, err := json.Marshal(review)
	if err != nil {
		return false, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Base.String(), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	q.URL = &url.URL{}
	d.SetURL(q.URL, selfReviewPath)
	q.Header.Set("Content-Type", "application/json")
	d.Headers.Set(q.Header, u)
	resp, err := d.Transport.RoundTrip(q)
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
