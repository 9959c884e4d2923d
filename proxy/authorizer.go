package proxy

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	webhookmetrics "k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

// Authorizer says who may read what the proxy tells of itself.
type Authorizer interface {
	// Authorize says whether u may do verb at a path that is no resource's. An
	// error says that this could not be found out now.
	Authorize(ctx context.Context, u user.Info, verb, path string) (bool, error)
}

const (
	// kcp's: how long root's answers count.
	allowedFor = 5 * time.Minute
	deniedFor  = 30 * time.Second

	// reviewTimeout bounds one question, its retries included. It is below
	// Prometheus' usual 10 s.
	reviewTimeout = 5 * time.Second
	// What strangers with an account may cost root.
	reviewsPerSecond, reviewsAtOnce = 20, 40
)

// RootAuthorizer asks the workspace root (SubjectAccessReview), and keeps the
// answers for a while; of the 8,192 it keeps, the least used go first.
type RootAuthorizer struct{ reviews *webhook.WebhookAuthorizer }

// NewRootAuthorizer takes the configuration that reaches the root shard, with
// or without /clusters/root at the end of its host. It reads the files which
// that names. m counts the reviews; nil: nobody does.
func NewRootAuthorizer(root *rest.Config, m *Metrics) (*RootAuthorizer, error) {
	root = rest.CopyConfig(root)
	root.Host = strings.TrimSuffix(strings.TrimSuffix(root.Host, "/"), "/clusters/root") + "/clusters/root"
	root.Timeout = reviewTimeout
	root.QPS, root.Burst = reviewsPerSecond, reviewsAtOnce
	client, err := authorizationclient.NewForConfig(root)
	if err != nil {
		return nil, fmt.Errorf("root kubeconfig: make the client for SubjectAccessReviews: %w", err)
	}
	retry := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 2}
	reviews, err := webhook.NewFromInterface(client, allowedFor, deniedFor, retry, authorizer.DecisionDeny, reviewCounter{metrics: m}, authorizationcel.NewDefaultCompiler())
	if err != nil {
		return nil, fmt.Errorf("make the authorizer that asks root: %w", err)
	}
	return &RootAuthorizer{reviews}, nil
}

// Authorize implements Authorizer.
func (a *RootAuthorizer) Authorize(ctx context.Context, u user.Info, verb, path string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	decision, _, err := a.reviews.Authorize(ctx, authorizer.AttributesRecord{User: u, Verb: verb, Path: path})
	if err != nil {
		return false, fmt.Errorf("ask root whether the user may %s %s: %w", verb, path, err)
	}
	return decision == authorizer.DecisionAllow, nil
}

// reviewCounter counts what the library's authorizer sends.
type reviewCounter struct {
	webhookmetrics.NoopAuthorizerMetrics
	metrics *Metrics
}

// RecordRequestTotal is called with the status code, or "<error>".
func (c reviewCounter) RecordRequestTotal(_ context.Context, code string) {
	if c.metrics == nil {
		return
	}
	result := "failed"
	if len(code) == 3 && code[0] == '2' {
		result = "answered"
	}
	c.metrics.reviews.WithLabelValues(result).Inc()
}
