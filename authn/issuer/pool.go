package issuer

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/egress"
)

// Defaults of Config, and the limits on fetches that tokens cause.
const (
	DefaultTimeout         = 10 * time.Second
	DefaultVerifyTimeout   = 5 * time.Second
	DefaultFetches         = 192
	DefaultFetchesPerOwner = 4
	DefaultOwnersWaiters   = 256

	// MaxOwnersIssuers is how many different IssuerRefs one owner may use at once.
	MaxOwnersIssuers = 1024

	// NoKeyGrace is for how long an issuer that publishes no usable key leaves its
	// tokens undecided: it may be in the middle of a rotation. Then they are refused:
	// it may have withdrawn its keys.
	NoKeyGrace = 2 * time.Minute
	// RefreshPeriod is how often keys are read again, give or take a tenth.
	RefreshPeriod = 5 * time.Minute
	// UndiscoveredEvery is how often a token may cause a fetch from an issuer whose keys
	// were never read.
	UndiscoveredEvery = 2 * time.Second
	// DiscoveryTTL is how long a discovery document is believed.
	DiscoveryTTL = time.Hour

	backoffStart = time.Second
	backoffMax   = time.Minute
)

// Config of a Pool. The zero value works.
type Config struct {
	// Egress judges where fetches go; nil means the built-in rules only, and
	// Unguarded none, for URLs that no tenant chooses.
	Egress *egress.Guard
	// Proxy is http.Transport's; nil means no proxy. Through a proxy, Egress sees
	// the proxy's address only.
	Proxy func(*http.Request) (*url.URL, error)
	// AnyRedirect: redirects to other hosts are followed, up to ten, as kube does;
	// for URLs that no tenant chooses. Never away from https.
	AnyRedirect bool
	// Clock is the time; nil means the real one.
	Clock clock.Clock
	// Log gets a line when an issuer's state changes, and at -v=4 at each further
	// failure. The zero Logger is silent.
	Log klog.Logger
	// Timeout bounds one attempt to read the documents.
	Timeout time.Duration
	// Wait is how long a verification waits for a fetch it needs.
	Wait time.Duration
	// Fetches is how many fetches may run at once, OwnersFetches how many of these for
	// one owner. Issuers that failed last time, and owners with fetches under way, get
	// only a part of them; see fetchScheduler.
	Fetches, OwnersFetches int
	// OwnersWaiters is how many verifications may wait at once for fetches from one
	// owner's issuers. Any more fail at once with ErrUnavailable.
	OwnersWaiters int
}

func (c Config) withDefaults() Config {
	if c.Egress == nil {
		c.Egress = &egress.Guard{}
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.Wait = cmp.Or(c.Wait, DefaultVerifyTimeout)
	c.Fetches = cmp.Or(c.Fetches, DefaultFetches)
	c.OwnersFetches = cmp.Or(c.OwnersFetches, DefaultFetchesPerOwner)
	c.OwnersWaiters = cmp.Or(c.OwnersWaiters, DefaultOwnersWaiters)
	return c
}

// Pool has the issuers in use, one for each IssuerRef.
type Pool struct {
	config    Config
	scheduler *fetchScheduler
	bodies    chan struct{}  // has the fetches that read a large body
	wg        sync.WaitGroup // the issuers' goroutines

	mu      sync.Mutex // guards what follows; scheduler has its own, which is taken after it
	issuers map[RefID]*Issuer
	owned   map[string]int  // how many issuers each owner has
	waiters map[string]int  // how many verifications wait at each owner's expense
	large   ledger          // of large key sets
	ctx     context.Context // of Run; nil before
	stopped bool            // Run is returning
}

// NewPool makes a Pool. It does no I/O; issuers are read while Run runs.
func NewPool(config Config) *Pool {
	config = config.withDefaults()
	return &Pool{
		config:    config,
		scheduler: newFetchScheduler(config.Fetches, config.OwnersFetches),
		bodies:    make(chan struct{}, largeBodies),
		issuers:   map[RefID]*Issuer{},
		owned:     map[string]int{},
		waiters:   map[string]int{},
		large:     ledger{ofOwners: map[string]int{}},
	}
}

// Run reads the issuers until ctx ends, and returns when all its goroutines
// have. It may be called once.
func (p *Pool) Run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	for _, i := range p.issuers {
		p.start(i) //nolint:contextcheck // it takes ctx from p, as Acquire does
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.stopped = true // nothing is added to wg from here on
	p.mu.Unlock()    //nolint:staticcheck // one assignment is no empty section
	p.wg.Wait()
	return nil
}

// start runs the issuer's goroutine. The caller holds mu.
func (p *Pool) start(i *Issuer) {
	if p.ctx == nil || p.stopped {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	i.use.stop = cancel
	p.wg.Go(func() { i.run(ctx) })
}

// ErrTooMany is wrapped by Acquire's error when an owner has too many issuers.
var ErrTooMany = errors.New("too many issuers")

// Acquire returns the issuer of an IssuerRef, which all users of the same one share; the first
// Acquire makes it and starts to read it. The owner, for example a logical cluster, is
// charged for fetches. The caller must call release once, and not use the issuer after
// that; the last release forgets its keys. An error wraps ErrTooMany if the owner already
// has MaxOwnersIssuers; any other error means that the IssuerRef can never work.
func (p *Pool) Acquire(ref IssuerRef, owner string) (issuer *Issuer, release func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := ref.ID()
	i := p.issuers[id]
	if (i == nil || i.use.owners[owner] == 0) && p.owned[owner] >= MaxOwnersIssuers {
		return nil, nil, fmt.Errorf("issuer %q: %w: %q uses %d different issuers; remove some", redacted(ref.URL), ErrTooMany, owner, MaxOwnersIssuers)
	}
	if i == nil {
		fetcher, err := newFetcher(ref, p.config, p.bodies)
		if err != nil {
			return nil, nil, fmt.Errorf("issuer %q: %w", redacted(ref.URL), err)
		}
		i = newIssuer(p, fetcher)
		p.issuers[id] = i
		p.start(i)
	}
	if i.use.owners[owner]++; i.use.owners[owner] == 1 {
		p.owned[owner]++
		p.updateOwners(i)
	}
	return i, sync.OnceFunc(func() { p.release(i, owner) }), nil
}

func (p *Pool) release(i *Issuer, owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i.use.owners[owner]--; i.use.owners[owner] == 0 {
		delete(i.use.owners, owner)
		if p.owned[owner]--; p.owned[owner] == 0 {
			delete(p.owned, owner)
		}
		p.updateOwners(i)
		p.large.left(i, owner)
	}
	if len(i.use.owners) > 0 {
		return
	}
	delete(p.issuers, i.ref.ID())
	if i.use.stop != nil {
		i.use.stop()
	}
}

// slot waits until i may fetch. Any of its owners may be charged, also those that come to
// share it meanwhile, so that nobody delays an issuer by naming it, too. If err is nil, the
// caller must call release.
func (p *Pool) slot(ctx context.Context, i *Issuer, class fetchClass) (release func(), err error) {
	p.mu.Lock()
	i.use.waiting = p.scheduler.join(class, slices.Collect(maps.Keys(i.use.owners)))
	w := i.use.waiting
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		i.use.waiting = nil
	}()
	return p.scheduler.wait(ctx, w)
}

// enter lets a verification wait for i, and charges an owner of i that has room; ok is false
// if none has. The caller must call leave.
func (p *Pool) enter(i *Issuer) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for owner := range i.use.owners {
		if p.waiters[owner] >= p.config.OwnersWaiters {
			continue
		}
		p.waiters[owner]++
		return func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.waiters[owner]--; p.waiters[owner] == 0 {
				delete(p.waiters, owner)
			}
		}, true
	}
	return nil, false
}

// updateOwners tells the scheduler that i's owners have changed. The caller holds mu.
func (p *Pool) updateOwners(i *Issuer) {
	if i.use.waiting != nil {
		p.scheduler.setOwners(i.use.waiting, slices.Collect(maps.Keys(i.use.owners)))
	}
}

// State is an issuer's health.
type State string

// The states of an issuer.
const (
	// Pending: no attempt has ended yet.
	Pending State = "Pending"
	// Ready: the last attempt read its keys.
	Ready State = "Ready"
	// Failing: the last attempt failed; the keys read before it are in use.
	Failing State = "Failing"
	// Unavailable: its keys were never read.
	Unavailable State = "Unavailable"
	// NoUsableKey: the last attempt read a key set without a key that can be used.
	NoUsableKey State = "NoUsableKey"
)

// States are all there are.
func States() []State { return []State{Pending, Ready, Failing, Unavailable, NoUsableKey} }

// Counts says how many issuers are in each state.
func (p *Pool) Counts() map[State]int {
	counts := map[State]int{}
	for _, i := range p.inUse() {
		state, _ := i.state()
		counts[state]++
	}
	return counts
}

// Status is what operators see of an issuer.
type Status struct {
	URL          string `json:"url"`
	DiscoveryURL string `json:"discoveryURL,omitempty"`
	// CA is the start of the CA bundle's SHA-256; empty means system roots.
	CA    string `json:"caSHA256,omitempty"`
	State State  `json:"state"`
	// Users is how many configurations use the issuer.
	Users int `json:"users,omitempty"`
	// KeyIDs are the keys in use; Ignored says which of the set are not, and why.
	KeyIDs  []string `json:"keyIDs,omitempty"`
	Ignored []string `json:"ignoredKeys,omitempty"`
	// KeysSince says of each of KeyIDs when it was first read, since the issuer is in use.
	KeysSince   []time.Time `json:"-"`
	LastAttempt metav1.Time `json:"lastAttempt,omitzero"`
	LastSuccess metav1.Time `json:"lastSuccess,omitzero"`
	// LastError is why the last attempt failed; empty when it did not. It is for operators.
	LastError string `json:"lastError,omitempty"`
	// Fault is LastError in words for those who chose the issuer: without addresses of
	// networks and without what servers said.
	Fault string `json:"-"`
}

// Status is what operators see of the issuer.
func (i *Issuer) Status() Status {
	s := Status{URL: i.ref.URL, DiscoveryURL: i.ref.DiscoveryURL}
	if i.ref.CA != "" {
		id := i.ref.ID()
		s.CA = hex.EncodeToString(id.ca[:6])
	}
	i.pool.mu.Lock()
	for _, n := range i.use.owners {
		s.Users += n
	}
	i.pool.mu.Unlock()
	i.mu.Lock()
	s.LastAttempt, s.LastSuccess = metav1.NewTime(i.lastStart), metav1.NewTime(i.lastSuccess)
	i.mu.Unlock()
	var err error
	if s.State, err = i.state(); err != nil {
		s.LastError, s.Fault = err.Error(), faultOf(err)
	}
	if keys := i.keys.Load(); keys != nil {
		s.KeyIDs, s.Ignored = keys.ids, keys.ignored
		for _, id := range keys.ids {
			s.KeysSince = append(s.KeysSince, keys.since[id])
		}
	}
	return s
}

// inUse lists the issuers in use.
func (p *Pool) inUse() []*Issuer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.issuers))
}

// Status lists the issuers in use, sorted by URL.
func (p *Pool) Status() []Status {
	var all []Status
	for _, i := range p.inUse() {
		all = append(all, i.Status())
	}
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.DiscoveryURL, b.DiscoveryURL), cmp.Compare(a.CA, b.CA))
	})
	return all
}
