package serviceaccount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/index/shards"
	"frontproxy/internal/backoff"
	"frontproxy/internal/jwks"
)

// Defaults and bounds of ShardKeys.
const (
	DefaultKeysPeriod = 30 * time.Second

	// keysTick is how often the list of shards is checked.
	keysTick = time.Second
	// unreadKeys is how often tokens may have a shard read whose keys were never read.
	unreadKeys   = time.Second
	keysTimeout  = 5 * time.Second
	maxKeySet    = 1 << 20 // bytes
	maxShardKeys = 64

	keysPath = "/clusters/root/openid/v1/jwks"
)

// ShardKeysConfig of ShardKeys.
type ShardKeysConfig struct {
	// Shards are the shards known now; required. Their names are unique.
	Shards func() []*shards.Shard
	// Client is how shards are reached (--shards-kubeconfig); its Host is not used.
	Client *rest.Config
	// Period is how often each shard's keys are read; 0 means DefaultKeysPeriod.
	Period time.Duration
	// Clock is the time; nil means the real one.
	Clock clock.WithTicker
	// Log tells of changed keys and of shards that can't be read.
	Log klog.Logger
}

// ShardKeys are the keys with which each shard verifies service account tokens, as it
// publishes them. They are read periodically while Run runs, and at once when a token has
// an unknown key. Keys that were read stay in use while their shard can't be read. Safe for
// concurrent use.
type ShardKeys struct {
	config     ShardKeysConfig
	client     shardGetter
	generation atomic.Uint64

	mu     sync.RWMutex // guards what follows
	shards map[string]*shardKeys
}

// shardKeys is what is known of one shard. A shard that moves to another address gets a
// new one, which has the old keys until the new ones were read.
type shardKeys struct {
	url      string
	keys     *KeySet // nil: never read
	read     time.Time
	err      error // of the last reading; nil: it was good
	failures int
	next     time.Time // when to read it again
	started  time.Time // when the last reading was begun; zero: none was
	current  *reading  // under way; nil: none is
	refetch  *jwks.Refetch
}

// reading is one attempt to read a shard's key set. err may be read when done is closed.
type reading struct {
	done chan struct{}
	err  error
}

// NewShardKeys does no I/O beyond reading the files that the client
// configuration names.
func NewShardKeys(c ShardKeysConfig) (*ShardKeys, error) {
	if c.Shards == nil || c.Client == nil {
		return nil, errors.New("service account keys of shards: no shards or no client configuration")
	}
	c.Period = cmp.Or(c.Period, DefaultKeysPeriod)
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	client, err := newShardGetter(c.Client)
	if err != nil {
		return nil, fmt.Errorf("service account keys of shards: %w", err)
	}
	return &ShardKeys{config: c, client: client, shards: map[string]*shardKeys{}}, nil
}

// Run follows the shards and their keys until ctx ends.
func (k *ShardKeys) Run(ctx context.Context) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	tick := k.config.Clock.NewTicker(keysTick)
	defer tick.Stop()
	for {
		for _, name := range k.due() {
			reading.Go(func() { k.readOnce(ctx, name) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
	}
}

// due updates the table from the list of shards, and returns the shards to read now.
func (k *ShardKeys) due() []string {
	listed := k.config.Shards()
	now := k.config.Clock.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.shards {
		if !slices.ContainsFunc(listed, func(s *shards.Shard) bool { return s.Name == name }) {
			delete(k.shards, name)
			k.generation.Add(1)
			k.config.Log.Info("Removed the service account keys of a removed shard", "shard", name)
		}
	}
	var due []string
	for _, s := range listed {
		entry := k.entry(s)
		if now.Before(entry.next) {
			continue
		}
		entry.next = now.Add(k.config.Period)
		due = append(due, s.Name)
	}
	return due
}

// entry returns the entry of a listed shard. It makes one if there is none, or if the
// shard has moved. The caller holds mu.
func (k *ShardKeys) entry(s *shards.Shard) *shardKeys {
	url := s.BaseURL.String()
	entry := k.shards[s.Name]
	switch {
	case entry == nil:
		entry = &shardKeys{url: url, refetch: jwks.NewRefetch()}
		k.shards[s.Name] = entry
	case entry.url != url:
		entry = &shardKeys{url: url, keys: entry.keys, read: entry.read, refetch: jwks.NewRefetch()}
		k.shards[s.Name] = entry
	}
	return entry
}

// readOnce reads a shard's keys, or waits for a reading under way.
func (k *ShardKeys) readOnce(ctx context.Context, name string) {
	k.mu.Lock()
	entry := k.shards[name]
	if entry == nil {
		k.mu.Unlock()
		return
	}
	r := entry.current
	if r == nil {
		r = k.begin(ctx, name, entry)
	}
	k.mu.Unlock()
	_ = r.wait(ctx)
}

// begin starts a reading of a shard. It outlives ctx, since others may wait for it, too.
// The caller holds mu.
func (k *ShardKeys) begin(ctx context.Context, name string, entry *shardKeys) *reading {
	r := &reading{done: make(chan struct{})}
	began := k.config.Clock.Now()
	entry.current, entry.started = r, began
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(r.done)
		ctx, cancel := context.WithTimeout(ctx, keysTimeout)
		defer cancel()
		var keys *KeySet
		keys, r.err = k.fetch(ctx, entry.url)
		k.remember(name, entry, began, keys, r.err)
	}()
	return r
}

// wait returns the reading's error, or ctx's error if ctx ends before.
func (r *reading) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remember stores the result of a reading, unless the shard has gone or moved.
func (k *ShardKeys) remember(name string, entry *shardKeys, began time.Time, keys *KeySet, err error) {
	now := k.config.Clock.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	entry.current = nil
	if k.shards[name] != entry {
		return
	}
	if err != nil {
		if entry.err == nil {
			k.config.Log.Error(err, "Could not read the service account keys of a shard; those read before stay in use", "shard", name)
		}
		entry.err = err
		entry.failures++
		entry.next = now.Add(backoff.Exponential(keysTick, k.config.Period, entry.failures))
		return
	}
	if entry.keys == nil || !entry.keys.equal(keys) {
		k.generation.Add(1)
		k.config.Log.Info("Read the service account keys of a shard", "shard", name, "keys", len(keys.all))
	}
	entry.keys, entry.read, entry.err, entry.failures = keys, now, nil, 0
	entry.next = now.Add(k.config.Period)
	entry.refetch.Read(began)
}

// fetch reads the key set of the shard at a base URL.
func (k *ShardKeys) fetch(ctx context.Context, base string) (*KeySet, error) {
	status, code, body, err := k.client.get(ctx, base+keysPath, jwks.Accept, maxKeySet)
	switch {
	case err != nil:
		return nil, err
	case code != http.StatusOK:
		return nil, unexpected(status, keysPath)
	}
	return parseKeySet(body)
}

// parseKeySet reads those keys of a JWKS that can sign service account tokens. It is an
// error if there is none.
func parseKeySet(body []byte) (*KeySet, error) {
	entries, err := jwks.Parse(body, maxShardKeys)
	if err != nil {
		return nil, fmt.Errorf("the shard's key set: %w", err)
	}
	var keys []Key
	for _, entry := range entries {
		if entry.Err != nil {
			continue
		}
		if key, err := NewKey(entry.Key.Key); err == nil {
			key.ID = cmp.Or(entry.ID, key.ID)
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the shard's key set has no key that can sign service account tokens")
	}
	return NewKeySet(keys...), nil
}

// of returns the keys of a shard with the id; all for an empty id.
func (k *ShardKeys) of(shard, id string) []Key {
	k.mu.RLock()
	defer k.mu.RUnlock()
	entry := k.shards[shard]
	if entry == nil || entry.keys == nil {
		return nil
	}
	return entry.keys.Keys(id)
}

// decided reports whether a token whose key is not among the shard's may be refused without
// another reading. issued is when the token was issued; zero: unknown.
func (k *ShardKeys) decided(s *shards.Shard, id string, issued time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry := k.entry(s)
	return entry.keys != nil && entry.refetch.Decided(id, issued, k.config.Clock.Now())
}

// errNotDue is why a shard is not read for a token now.
var errNotDue = errors.New("they were just read for other tokens with unknown keys, and will be read again shortly")

// requestRefresh begins a reading of a shard for a token. If one is under way it returns that,
// with joined; if none is due, nil and the reason. For undecided see jwks.Refetch.
func (k *ShardKeys) requestRefresh(ctx context.Context, s *shards.Shard, undecided bool) (r *reading, joined bool, err error) {
	now := k.config.Clock.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	entry := k.entry(s)
	switch {
	case entry.current != nil:
		return entry.current, true, nil
	case entry.keys == nil: // a first reading does not count against refetch's limit
		if !entry.started.IsZero() && now.Sub(entry.started) < unreadKeys {
			return nil, false, entry.err
		}
	case !entry.refetch.Allow(now, undecided):
		if entry.err != nil {
			return nil, false, entry.err
		}
		return nil, false, errNotDue
	}
	return k.begin(ctx, s.Name, entry), false, nil
}

// refresh begins or joins a reading of a shard, and waits for it. joined means that it had
// begun before. A nil error means that it succeeded.
func (k *ShardKeys) refresh(ctx context.Context, s *shards.Shard) (joined bool, err error) {
	r, joined, err := k.requestRefresh(ctx, s, true)
	if r == nil {
		return false, err
	}
	return joined, r.wait(ctx)
}

// Generation changes whenever any shard's keys do.
func (k *ShardKeys) Generation() uint64 { return k.generation.Load() }

// ShardKeysStatus is what is known of one shard's keys.
type ShardKeysStatus struct {
	Shard string `json:"shard"`
	// IDs are the ids of its keys, sorted; nil when it was never read.
	IDs []string `json:"keyIDs,omitempty"`
	// Read is when it was last read well; zero: never.
	Read metav1.Time `json:"read,omitzero"`
	// Error is why the last reading failed; empty when it did not. It may name the
	// shard's address.
	Error string `json:"error,omitempty"`
}

// Status returns the shards' states, by name.
func (k *ShardKeys) Status() []ShardKeysStatus {
	k.mu.RLock()
	defer k.mu.RUnlock()
	all := make([]ShardKeysStatus, 0, len(k.shards))
	for name, entry := range k.shards {
		s := ShardKeysStatus{Shard: name, Read: metav1.NewTime(entry.read)}
		if entry.err != nil {
			s.Error = entry.err.Error()
		}
		if entry.keys != nil {
			for _, key := range entry.keys.all {
				s.IDs = append(s.IDs, key.ID)
			}
			slices.Sort(s.IDs)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b ShardKeysStatus) int { return strings.Compare(a.Shard, b.Shard) })
	return all
}
