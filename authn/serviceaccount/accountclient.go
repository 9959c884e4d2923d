package serviceaccount

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/bytecache"
	"frontproxy/internal/clip"
	"frontproxy/internal/fairqueue"
)

// Defaults and bounds of an AccountClient.
const (
	DefaultFresh = 5 * time.Second

	// recently is how old a recent answer may be, and for how long a shard that could
	// not answer a question is not asked it again.
	recently      = time.Second
	lookupTimeout = 5 * time.Second
	maxObject     = 3 << 20  // bytes; a Secret has at most 1 MiB of data, in base64
	maxLookups    = 24 << 20 // bytes: some 32,000 answers
	// maxRunning is how many look-ups run at once, maxQueued how many run or wait for their
	// turn, and maxWaiters how many requests wait for results.
	maxRunning, maxQueued, maxWaiters = 64, 2048, 16384

	invalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
)

// kinds of the objects that are looked up, by resource.
var kinds = map[string]string{"serviceaccounts": "ServiceAccount", "secrets": "Secret"}

// Shards knows where logical clusters are; *index.Index does.
type Shards interface {
	// Holder returns the shard that holds the cluster. An error that wraps
	// index.ErrUnknown means that none does; any other that it is not known now.
	Holder(cluster string) (*shards.Shard, error)
}

// AccountClientConfig of an AccountClient.
type AccountClientConfig struct {
	// Shards is required.
	Shards Shards
	// Client is how shards are reached (--shards-kubeconfig); its Host is not used.
	Client *rest.Config
	// Fresh is how long an answer is good for; 0 means DefaultFresh.
	Fresh time.Duration
	// Grace is how much longer it is while the shard can't be asked, or the account's cluster
	// has used up its share of the look-ups; 0 means not at all.
	Grace time.Duration
	// Clock is the time; nil means the real one.
	Clock clock.PassiveClock
}

// AccountClient asks shards over HTTP and keeps their answers for a short time. No
// question is asked twice at the same time, and the number of requests is bounded. Shards
// share the look-up slots fairly, and so do the clusters of a shard: a shard that hangs, or a
// cluster with many accounts, leaves others half of what is left. So up to six shards that
// hang, and five such clusters of one shard, delay nobody else. It implements AccountGetter.
type AccountClient struct {
	config AccountClientConfig
	client shardGetter
	queue  *fairqueue.Queue[question, answer]
	known  *bytecache.Cache[question, answer]
}

// question is what is asked of a shard; comparable.
type question struct {
	shard, cluster, namespace, resource, name string
}

// bytes is about the memory that its texts take.
func (q *question) bytes() int {
	return len(q.shard) + len(q.cluster) + len(q.namespace) + len(q.resource) + len(q.name)
}

// answerBytes is about what an answer takes in addition to its question's texts.
const answerBytes = 320

// answer is what a shard last said, and why it could not be asked since.
type answer struct {
	// answered: the shard has answered. It was asked at the time at, and the answer is
	// secret (for an account only its Object) or err, which is ErrNotFound.
	answered bool
	secret   Secret
	err      error
	at       time.Time
	// failure is why the shard could not be asked later, at the time failed.
	failure error
	failed  time.Time
}

// NewAccountClient does no I/O beyond reading the files that the client
// configuration names.
func NewAccountClient(c AccountClientConfig) (*AccountClient, error) {
	if c.Shards == nil || c.Client == nil {
		return nil, errors.New("service account lookup: no shards or no client configuration")
	}
	c.Fresh = cmp.Or(c.Fresh, DefaultFresh)
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	client, err := newShardGetter(c.Client)
	if err != nil {
		return nil, fmt.Errorf("service account lookup: %w", err)
	}
	return &AccountClient{
		config: c, client: client, known: bytecache.New[question, answer](maxLookups, nil),
		queue: fairqueue.New[question, answer](fairqueue.Limits{Running: maxRunning, Calls: maxQueued, Waiters: maxWaiters, Timeout: lookupTimeout, Nested: true}),
	}, nil
}

// ServiceAccount implements AccountGetter.
func (c *AccountClient) ServiceAccount(ctx context.Context, cluster, namespace, name string, recent bool) (Object, error) {
	s, err := c.lookUp(ctx, cluster, namespace, "serviceaccounts", name, recent)
	return s.Object, err
}

// Secret implements AccountGetter.
func (c *AccountClient) Secret(ctx context.Context, cluster, namespace, name string, recent bool) (Secret, error) {
	return c.lookUp(ctx, cluster, namespace, "secrets", name, recent)
}

func (c *AccountClient) lookUp(ctx context.Context, cluster, namespace, resource, name string, recent bool) (Secret, error) {
	shard, err := c.config.Shards.Holder(cluster)
	switch {
	case errors.Is(err, index.ErrUnknown):
		return Secret{}, fmt.Errorf("%w: %w", ErrHomeUnknown, err)
	case err != nil:
		return Secret{}, fmt.Errorf("find logical cluster %s: %w", cluster, err)
	}
	q := question{shard.BaseURL.String(), cluster, namespace, resource, name}
	freshness := c.config.Fresh
	if recent {
		freshness = min(freshness, recently)
	}
	known, _ := c.known.Get(q)
	if !c.usable(known, freshness) {
		if known, err = c.fetchOnce(ctx, q); err != nil {
			return Secret{}, err
		}
	}
	return c.resultOf(known, recent)
}

// usable: there is no need to ask again.
func (c *AccountClient) usable(a answer, freshness time.Duration) bool {
	return a.answered && c.config.Clock.Since(a.at) < freshness ||
		a.failure != nil && c.config.Clock.Since(a.failed) < recently
}

// resultOf returns what an answer means now. While the shard can't be asked and the grace
// lasts, it is what the shard last said, unless a recent answer is wanted.
func (c *AccountClient) resultOf(a answer, recent bool) (Secret, error) {
	if recent && a.failure != nil {
		return Secret{}, a.failure
	}
	if a.answered && (a.failure == nil || c.config.Clock.Since(a.at) < c.config.Fresh+c.config.Grace) {
		return a.secret, a.err
	}
	return Secret{}, a.failure
}

// fetchOnce asks the shard, or waits for the result if another request already does. An
// error means that ctx has ended. If it has ended before, as that of a request that must not
// wait has (authn.Request.NoWait), the shard is asked for the sake of the next request.
func (c *AccountClient) fetchOnce(ctx context.Context, q question) (answer, error) {
	if ctx.Err() == nil {
		return c.fetchInTurn(ctx, q)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		_, _ = c.fetchInTurn(ctx, q) // remembered
	}()
	return answer{}, ctx.Err()
}

// fetchInTurn asks the shard when the question's turn comes, as fetchOnce says.
func (c *AccountClient) fetchInTurn(ctx context.Context, q question) (answer, error) {
	a, err := c.queue.Do(ctx, q, []string{q.shard, q.cluster}, func() func(context.Context) (answer, error) {
		return func(ctx context.Context) (answer, error) {
			// Another request may have asked just before this one joined.
			if known, _ := c.known.Get(q); c.usable(known, recently) {
				return known, nil
			}
			asked := c.config.Clock.Now()
			secret, err := c.fetch(ctx, q)
			return c.remember(q, asked, secret, err), nil
		}
	})
	if errors.Is(err, fairqueue.ErrFull) { // resultOf decides whether the last answer still counts
		a, _ = c.known.Get(q)
		a.failure, a.failed = fmt.Errorf("look up service accounts: %w", err), c.config.Clock.Now()
		return a, nil
	}
	return a, err
}

// remember keeps the result of a question.
func (c *AccountClient) remember(q question, asked time.Time, secret Secret, err error) answer {
	a := answer{answered: true, secret: secret, err: err, at: asked}
	if err != nil && !errors.Is(err, ErrNotFound) {
		a, _ = c.known.Get(q)
		a.failure, a.failed = err, c.config.Clock.Now()
	}
	c.known.Add(q, a, answerBytes+q.bytes())
	return a
}

func (c *AccountClient) fetch(ctx context.Context, q question) (Secret, error) {
	body, err := c.get(ctx, q)
	if err != nil {
		return Secret{}, err
	}
	return readObject(body, kinds[q.resource])
}

// get returns the object, as JSON, from the shard.
func (c *AccountClient) get(ctx context.Context, q question) ([]byte, error) {
	location := q.shard + "/clusters/" + url.PathEscape(q.cluster) + "/api/v1/namespaces/" + url.PathEscape(q.namespace) + "/" + q.resource + "/" + url.PathEscape(q.name)
	status, code, body, err := c.client.get(ctx, location, "application/json", maxObject)
	switch {
	case err != nil:
		return nil, err
	case code == http.StatusOK:
		return body, nil
	case code == http.StatusNotFound && saysNotFound(body):
		return nil, ErrNotFound
	}
	return nil, unexpected(status, q.resource)
}

// saysNotFound reports whether a 404 says that the object is missing: an address at
// which there is no API server answers 404, too.
func saysNotFound(body []byte) bool {
	var status metav1.Status
	return json.Unmarshal(body, &status) == nil && status.Kind == "Status" && status.Reason == metav1.StatusReasonNotFound
}

// readObject reads an account or a Secret. It keeps only the hash of a Secret's token.
func readObject(body []byte, kind string) (Secret, error) {
	var object struct {
		metav1.TypeMeta
		Metadata struct {
			UID               string            `json:"uid"`
			DeletionTimestamp *metav1.Time      `json:"deletionTimestamp"`
			Labels            map[string]string `json:"labels"`
		} `json:"metadata"`
		Data map[string][]byte `json:"data"`
	}
	if err := json.Unmarshal(body, &object); err != nil { // names by case, as kube's decoders
		return Secret{}, errors.New("the shard's answer is not an object")
	}
	if object.Kind != "" && object.Kind != kind || object.APIVersion != "" && object.APIVersion != "v1" {
		return Secret{}, fmt.Errorf("the shard's answer is kind %q of %q, want %s", clip.Clone(object.Kind, maxQuoted), clip.Clone(object.APIVersion, maxQuoted), kind)
	}
	if object.Metadata.UID == "" {
		return Secret{}, errors.New("the shard's answer is an object without uid")
	}
	s := Secret{
		Object:       Object{UID: object.Metadata.UID, Deleted: object.Metadata.DeletionTimestamp != nil},
		InvalidSince: object.Metadata.Labels[invalidSinceLabel],
	}
	if token := object.Data["token"]; len(token) > 0 {
		s.TokenHash = sha256.Sum256(token)
	}
	return s, nil
}
