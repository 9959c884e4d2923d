package authn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

const (
	reviewGroup = "authentication.k8s.io"
	// maxReview bounds the webhook's answer, in bytes.
	maxReview = 1 << 20
	// retryPause is the pause before the second try; it doubles.
	retryPause = 500 * time.Millisecond
	// reviewTries is how often a failing webhook is asked for one token.
	reviewTries = 3
)

// tokenReview is authentication.k8s.io's TokenReview; v1 and v1beta1 look alike.
type tokenReview struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Metadata   struct{}     `json:"metadata"`
	Spec       reviewSpec   `json:"spec"`
	Status     reviewStatus `json:"status"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences,omitempty"`
}

type reviewStatus struct {
	Authenticated bool       `json:"authenticated,omitempty"`
	User          reviewUser `json:"user"`
	Audiences     []string   `json:"audiences,omitempty"`
	Error         string     `json:"error,omitempty"`
}

type reviewUser struct {
	Username string              `json:"username,omitempty"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

// webhookReviewer asks over HTTP.
type webhookReviewer struct {
	client  *http.Client
	url     string
	version string
	pause   time.Duration
}

// errTryAgain is wrapped by errors that another try may not meet.
var errTryAgain = errors.New("webhook failed")

func (r *webhookReviewer) review(ctx context.Context, raw string, audiences []string) (*reviewStatus, error) {
	question, err := json.Marshal(tokenReview{
		APIVersion: reviewGroup + "/" + r.version,
		Kind:       "TokenReview",
		Spec:       reviewSpec{raw, audiences},
	})
	if err != nil {
		return nil, err
	}
	pause := r.pause
	for try := 1; ; try++ {
		status, err := r.post(ctx, question)
		if err == nil || try == reviewTries || !errors.Is(err, errTryAgain) && !errors.Is(err, syscall.ECONNRESET) {
			return status, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
		pause *= 2
	}
}

func (r *webhookReviewer) post(ctx context.Context, question []byte) (*reviewStatus, error) {
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
		return nil, fmt.Errorf("%w: it answered %s", errTryAgain, response.Status)
	case code < 200 || code > 299:
		return nil, fmt.Errorf("it answered %s", response.Status)
	}
	return readReview(body)
}

// readReview takes either version: they look alike, and some webhooks answer
// with the one they know.
func readReview(body []byte) (*reviewStatus, error) {
	var answer tokenReview
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, errors.New("its answer is no TokenReview: the JSON does not fit")
	}
	if answer.Kind != "TokenReview" || !strings.HasPrefix(answer.APIVersion, reviewGroup+"/") {
		return nil, fmt.Errorf("its answer is no TokenReview but kind %q of %q", clipped(answer.Kind, 64), clipped(answer.APIVersion, 64))
	}
	return &answer.Status, nil
}
