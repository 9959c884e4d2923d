package accessreview

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/util/webhook"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"frontproxy/internal/bytecache"
	"frontproxy/internal/fairqueue"
)

const (
	// kcp's: how long root's answers count.
	allowedFor = 5 * time.Minute
	deniedFor  = 30 * time.Second

	// reviewTimeout bounds one review, its retries and the wait for its turn
	// included. It is below Prometheus' usual 10 s.
	reviewTimeout = 5 * time.Second
	// reviewsPerSecond and reviewsAtOnce are what strangers with an account may cost
	// root.
	reviewsPerSecond, reviewsAtOnce = 20, 40
	// reviewsRunning is how many reviews are under way at once, reviewsInLine how many
	// are or wait for their turn: no more than reviewsPerSecond lets through in
	// reviewTimeout. reviewWaiters is how many requests wait for their results.
	reviewsRunning, reviewsInLine, reviewWaiters = 16, 64, 128
	// reviewCacheBytes bounds the answers that are kept: some 6,000.
	reviewCacheBytes = 2 << 20
)

// RootAuthorizer asks the workspace root (SubjectAccessReview) and caches the answers
// for a while; the least recently used are evicted first.
//
// One caller's reviews must not lock out the others': callers share the reviews in
// progress. All identities of one logical cluster count as one caller, because its
// owner can create any number of them.
type RootAuthorizer struct {
	client  authorizationclient.SubjectAccessReviewInterface
	metrics Metrics // nil: reviews are not counted
	clock   clock.PassiveClock
	answers *bytecache.Cache[reviewKey, reviewAnswer]
	queue   *fairqueue.Queue[reviewKey, bool]
}

// reviewKey is the digest of all that root is asked. Identities are large: the cache
// holds none.
type reviewKey [sha256.Size]byte

type reviewAnswer struct {
	allowed bool
	until   time.Time
}

// RootConfig is what a RootAuthorizer is made of.
type RootConfig struct {
	// Kubeconfig reaches the root shard, with or without /clusters/root at the end of its
	// host. Required.
	Kubeconfig *rest.Config
	// Metrics count the reviews; nil: they are not counted.
	Metrics Metrics
	// Timeout bounds one review, its retries and the wait for its turn included; 0 means 5 s.
	Timeout time.Duration
	// Clock says how long answers count; nil means the real one.
	Clock clock.PassiveClock
}

// Metrics counts reviews; *metrics.Metrics does.
type Metrics interface {
	// AccessReview counts a review that was sent to root; err is why there was no answer.
	AccessReview(err error)
}

// Access is what a RootAuthorizer is asked about.
type Access struct {
	User user.Info
	// Verb and Path are what User would do at which non-resource path.
	Verb, Path string
	// NoWait: only an answer that is known already counts; else there is an error, as if
	// asking had taken too long.
	NoWait bool
}

// NewRootAuthorizer reads the files that the kubeconfig names.
func NewRootAuthorizer(c RootConfig) (*RootAuthorizer, error) {
	timeout := cmp.Or(c.Timeout, reviewTimeout)
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	root := rest.CopyConfig(c.Kubeconfig)
	root.Host = strings.TrimSuffix(strings.TrimSuffix(root.Host, "/"), "/clusters/root") + "/clusters/root"
	root.Timeout = timeout
	root.ContentType, root.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // as the keys of answers are made
	root.QPS, root.Burst = reviewsPerSecond, reviewsAtOnce
	client, err := authorizationclient.NewForConfig(root)
	if err != nil {
		return nil, fmt.Errorf("root kubeconfig: make the client for SubjectAccessReviews: %w", err)
	}
	return &RootAuthorizer{
		client: client.SubjectAccessReviews(), metrics: c.Metrics, clock: c.Clock,
		answers: bytecache.New[reviewKey, reviewAnswer](reviewCacheBytes, nil),
		queue:   fairqueue.New[reviewKey, bool](fairqueue.Limits{Running: reviewsRunning, Calls: reviewsInLine, Waiters: reviewWaiters, Timeout: timeout}),
	}, nil
}

// Authorize reports whether the access is allowed. An error means that this could not be
// determined now. If the error wraps fairqueue.ErrFull, too many reviews of this caller are in
// progress, and it should try again.
func (a *RootAuthorizer) Authorize(ctx context.Context, to Access) (bool, error) {
	spec := reviewOf(to.User, to.Verb, to.Path)
	asked, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("encode the review of %s %s: %w", to.Verb, to.Path, err)
	}
	key := reviewKey(sha256.Sum256(asked))
	if allowed, ok := a.cachedAnswer(key); ok {
		return allowed, nil
	}
	if to.NoWait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		cancel() // only what is known counts: root is not asked
	}
	allowed, err := a.queue.Do(ctx, key, []string{reviewCaller(to.User)}, func() func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			if allowed, ok := a.cachedAnswer(key); ok { // the review before may have ended while the caller looked
				return allowed, nil
			}
			return a.review(ctx, key, spec)
		}
	})
	if err != nil {
		return false, fmt.Errorf("ask root whether the user may %s %s: %w", to.Verb, to.Path, err)
	}
	return allowed, nil
}

func reviewOf(u user.Info, verb, path string) authorizationv1.SubjectAccessReviewSpec {
	spec := authorizationv1.SubjectAccessReviewSpec{
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: verb},
		User:                  u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(),
	}
	if extra := u.GetExtra(); extra != nil {
		spec.Extra = make(map[string]authorizationv1.ExtraValue, len(extra))
		for key, values := range extra {
			spec.Extra[key] = values
		}
	}
	return spec
}

// reviewCaller names the caller that shares root with the others: the logical cluster of
// which the user is, else the user.
func reviewCaller(u user.Info) string {
	if cluster := u.GetExtra()["authentication.kcp.io/cluster-name"]; len(cluster) > 0 {
		return "cluster/" + cluster[0]
	}
	return "user/" + u.GetName()
}

// cachedAnswer returns an answer that still counts.
func (a *RootAuthorizer) cachedAnswer(key reviewKey) (allowed, ok bool) {
	answer, ok := a.answers.Get(key)
	if !ok {
		return false, false
	}
	if !a.clock.Now().Before(answer.until) {
		a.answers.Remove(key)
		return false, false
	}
	return answer.allowed, true
}

// review asks root, twice at most, and keeps its answer.
func (a *RootAuthorizer) review(ctx context.Context, key reviewKey, spec authorizationv1.SubjectAccessReviewSpec) (bool, error) {
	var status authorizationv1.SubjectAccessReviewStatus
	retry := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 2}
	err := webhook.WithExponentialBackoff(ctx, retry, func() error {
		review, err := a.client.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		if a.metrics != nil {
			a.metrics.AccessReview(err)
		}
		if err == nil {
			status = review.Status
		}
		return err
	}, webhook.DefaultShouldRetry)
	switch {
	case err != nil:
		return false, err
	case status.Allowed && status.Denied:
		return false, errors.New("its answer says both allowed and denied")
	}
	answer := reviewAnswer{allowed: status.Allowed, until: a.clock.Now().Add(deniedFor)}
	if answer.allowed {
		answer.until = a.clock.Now().Add(allowedFor)
	}
	a.answers.Add(key, answer, len(key))
	return answer.allowed, nil
}
