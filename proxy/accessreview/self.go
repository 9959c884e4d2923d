package accessreview

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/proxy/destination"
)

// maxReview bounds a shard's answer to a review, in bytes.
const maxReview = 1 << 20

// SelfPath is where SelfSubjectAccessReviews are created.
const SelfPath = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

// Impersonation returns the headers by which the caller acts as another user, whose rights
// count then.
func Impersonation(header http.Header) http.Header {
	out := http.Header{}
	for key, values := range header {
		if strings.HasPrefix(key, "Impersonate-") {
			out[key] = values
		}
	}
	return out
}

// Self asks the shard at d whether u may do in the workspace what spec says
// (SelfSubjectAccessReview), under u's own identity. With impersonation, headers of u's
// request, it asks whether the user whom u impersonates may, and u may impersonate. An error
// means that the shard did not say.
func Self(ctx context.Context, d *destination.Destination, u user.Info, impersonation http.Header, spec authorizationv1.SelfSubjectAccessReviewSpec) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectAccessReview", APIVersion: "authorization.k8s.io/v1"},
		Spec:     spec,
	}
	code, answer, err := Post(ctx, d, u, impersonation, SelfPath, review)
	switch {
	case err != nil:
		return false, err
	case code == http.StatusForbidden: // not even that: no access to the workspace
		return false, nil
	case code != http.StatusCreated && code != http.StatusOK:
		return false, fmt.Errorf("the shard answers a SelfSubjectAccessReview with %d", code)
	}
	*review = authorizationv1.SelfSubjectAccessReview{}
	if err := json.Unmarshal(answer, review); err != nil {
		return false, fmt.Errorf("the shard's answer is not a SelfSubjectAccessReview: %w", err)
	}
	return review.Status.Allowed, nil
}

// Post posts a review to the shard at d as u, and returns the status and the body of
// the answer. impersonation is added to the headers; nil: none is.
func Post(ctx context.Context, d *destination.Destination, u user.Info, impersonation http.Header, path string, review any) (code int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	body, err := json.Marshal(review)
	if err != nil {
		return 0, nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Base.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	q.URL = &url.URL{}
	d.SetURL(q.URL, path)
	for key, values := range impersonation {
		q.Header[key] = values
	}
	d.Headers.Clear(q.Header) // none is an identity's, whatever the mapping names these
	q.Header.Set("Content-Type", "application/json")
	d.Headers.Set(q.Header, u)
	resp, err := d.Transport.RoundTrip(q)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxReview))
	return resp.StatusCode, answer, err
}
