package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"

	"frontproxy/authn/identity"
	"frontproxy/internal/clip"
)

const (
	reviewKind = "TokenReview"
	// maxReview bounds the webhook's answer, in bytes.
	maxReview = 1 << 20
	// retryPause is the pause before the second try; it doubles.
	retryPause = 500 * time.Millisecond
	// reviewTries is how often a failing webhook is asked for one token.
	reviewTries = 3
)

// httpReviewer asks over HTTP.
type httpReviewer struct {
	client  *http.Client
	url     string
	version string
	decoder runtime.Decoder
	pause   time.Duration
}

var (
	// errTryAgain is wrapped by errors that another try may not meet.
	errTryAgain = errors.New("webhook failed")
	// errUnauthorized is wrapped by the error of a webhook that answered 401 or 403.
	// Some refuse tokens so; others mean the proxy's own credential.
	errUnauthorized = errors.New("the webhook refused by HTTP status")
)

func (r *httpReviewer) review(ctx context.Context, raw string, audiences []string) (*authenticationv1.TokenReviewStatus, error) {
	question, err := json.Marshal(authenticationv1.TokenReview{ // v1beta1 looks the same
		TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.GroupName + "/" + r.version, Kind: reviewKind},
		Spec:     authenticationv1.TokenReviewSpec{Token: raw, Audiences: audiences},
	})
	if err != nil {
		return nil, err
	}
	var status *authenticationv1.TokenReviewStatus
	err = webhookutil.WithExponentialBackoff(ctx, wait.Backoff{Duration: r.pause, Factor: 2, Steps: reviewTries}, func() (err error) {
		status, err = r.post(ctx, question)
		return err
	}, func(err error) bool { return errors.Is(err, errTryAgain) || errors.Is(err, syscall.ECONNRESET) })
	return status, err
}

func (r *httpReviewer) post(ctx context.Context, question []byte) (*authenticationv1.TokenReviewStatus, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReview+1))
	switch code := response.StatusCode; {
	case err != nil:
		return nil, fmt.Errorf("read its answer: %w", err)
	case len(body) > maxReview:
		return nil, fmt.Errorf("its answer has more than %d bytes", maxReview)
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		return nil, fmt.Errorf("%w: it answered %s", errTryAgain, clip.Clone(response.Status, identity.MaxQuoted))
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return nil, fmt.Errorf("%w: it answered %s", errUnauthorized, clip.Clone(response.Status, identity.MaxQuoted))
	case code < http.StatusOK || code > http.StatusPartialContent: // client-go's range
		return nil, fmt.Errorf("it answered %s", clip.Clone(response.Status, identity.MaxQuoted))
	case len(body) == 0:
		return nil, errors.New("its answer is empty")
	}
	return r.read(body)
}

// newReviewDecoder makes the decoder that kube's webhook client has, but of the
// two versions of TokenReview only, which look the same.
func newReviewDecoder() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, version := range []string{"v1", "v1beta1"} {
		scheme.AddKnownTypeWithName(schema.GroupVersionKind{Group: authenticationv1.GroupName, Version: version, Kind: reviewKind}, &authenticationv1.TokenReview{})
	}
	return serializer.NewCodecFactory(scheme).UniversalDeserializer()
}

// read takes what kube takes: what the answer does not say of its kind and
// version is as in the question. It takes the other version too, which kube does
// not: some webhooks answer with the one they know.
func (r *httpReviewer) read(body []byte) (*authenticationv1.TokenReviewStatus, error) {
	asked := schema.GroupVersionKind{Group: authenticationv1.GroupName, Version: r.version, Kind: reviewKind}
	answer, kind, err := r.decoder.Decode(body, &asked, nil)
	if err != nil && !runtime.IsNotRegisteredError(err) { // it may quote the answer, and that the token
		return nil, errors.New("its answer is not a TokenReview: the JSON does not fit")
	}
	if review, ok := answer.(*authenticationv1.TokenReview); ok {
		return &review.Status, nil
	}
	if kind == nil {
		kind = &schema.GroupVersionKind{}
	}
	return nil, fmt.Errorf("its answer is not a TokenReview but kind %q of %q", clip.Clone(kind.Kind, 64), clip.Clone(kind.GroupVersion().String(), 64))
}
