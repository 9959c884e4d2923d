package workspacetypes

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn/jwt"
	"frontproxy/authn/token"
	"frontproxy/index"
)

// Placement says where logical clusters are; index.Index does.
type Placement interface {
	// ShardOf returns the name of the shard that holds the logical cluster; of
	// two that show it during a migration the one that counts. False when that
	// is not known.
	ShardOf(cluster string) (shard string, ok bool)
}

// Config is what an Index needs.
type Config struct {
	// Issuers is the pool of issuers, which somebody else runs.
	Issuers jwt.Issuers
	// Placement decides between two shards that show the same type.
	Placement Placement
	// DisallowedIssuers are issuer URLs no configuration may name: those of
	// service accounts.
	DisallowedIssuers []string
	// RequireAudiences are the API audiences when they were set explicitly and
	// workspaces' tokens must carry one of them too; empty means that the
	// configurations' own audiences are enough.
	RequireAudiences []string
	// LoginDiscovery has configurations' annotations say how people log in.
	LoginDiscovery bool
	// Clock is the time; nil means the real one.
	Clock clock.Clock
	// Log gets a line for each configuration that does not build. The zero
	// Logger is silent.
	Log klog.Logger
}

// Index has the ready-made authenticators of every workspace type that
// names WorkspaceAuthenticationConfigurations. It implements authn.TypeSource.
//
// Watches fill it. Everything is kept per shard, a type finds its configurations
// on its own shard, and a request looks at the shard where Placement has the
// type's cluster: copies on another shard, as during a migration, can't mix.
//
// A configuration is built by Run, at the event, as soon as a type names it;
// those that nobody names are not built and cause no traffic. What a changed
// configuration means until the new one is built:
//
//   - an unchanged spec is no change;
//   - what it trusted before and still trusts (same issuer URL, discoveryURL and
//     CA) goes on being accepted on the old terms until the new ones are built,
//     and then on these at once: the issuer is the same, so its keys are there.
//     Terms that do not build replace none;
//   - an issuer URL that it names with another discoveryURL or CA goes on being
//     accepted as before until the new build has read the keys of all such
//     issuers, but no longer than handOverWait after the event, whatever becomes
//     of the new: the owner may have taken the old back for a reason;
//   - an issuer URL that it no longer names is no longer accepted from the event
//     on, and a spec that cannot be read names none; a new issuer's tokens are
//     undecided until its keys were read.
//
// A configuration that does not build is tried again with growing pauses.
// Removal takes effect at the event.
type Index struct {
	config  Config
	builder *jwt.Builder
	wake    chan struct{} // Run has something to do

	mu     sync.RWMutex // guards what follows and all entries
	shards map[string]*typeShard
	// todo are the configurations to build; retry those that failed; changing
	// those that serve issuers that are to end; see handOver.
	todo     buildQueue
	retry    map[*configEntry]struct{}
	changing map[*configEntry]struct{}
}

// objectName names an object on a shard.
type objectName struct{ cluster, name string }

// typeShard is what one shard has.
type typeShard struct {
	typesSynced, configsSynced bool
	types                      map[objectName]*typeEntry
	configs                    map[objectName]*configEntry
	configsOf                  map[string]map[*configEntry]struct{} // the same, by cluster
	owners                     map[string]*owner                    // of types, by cluster
}

// New makes an empty Index.
func New(c Config) *Index {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	return &Index{
		config: c,
		builder: jwt.NewBuilder(jwt.Config{
			Issuers: c.Issuers, DisallowedIssuers: c.DisallowedIssuers, RequireAudiences: c.RequireAudiences, Limited: true, Name: entryInWorkspace, Clock: c.Clock,
		}),
		wake:     make(chan struct{}, 1),
		shards:   map[string]*typeShard{},
		retry:    map[*configEntry]struct{}{},
		changing: map[*configEntry]struct{}{},
	}
}

// Authenticators implements authn.TypeSource.
func (i *Index) Authenticators(t index.Type) (*TypeAuthenticators, error) {
	_, s, err := i.lockShardOf(t.Cluster)
	if err != nil {
		return nil, err
	}
	defer i.mu.RUnlock()
	if e := s.types[objectName{t.Cluster, t.Name}]; e != nil {
		return e.published, nil
	}
	return nil, nil
}

// lockShardOf returns the shard that holds a logical cluster, and what has been read of it, with mu
// locked for reading: the caller unlocks it. If that is not known now, the error wraps
// token.ErrUndecided, and mu is not locked.
func (i *Index) lockShardOf(cluster string) (name string, s *typeShard, err error) {
	name, ok := i.config.Placement.ShardOf(cluster)
	if !ok {
		return "", nil, fmt.Errorf("%w: the shard of logical cluster %s is not known", token.ErrUndecided, cluster)
	}
	i.mu.RLock()
	if s = i.shards[name]; s == nil || !s.typesSynced || !s.configsSynced {
		i.mu.RUnlock()
		return "", nil, fmt.Errorf("%w: types and authentication configurations of shard %s have not been read yet", token.ErrUndecided, name)
	}
	return name, s, nil
}

// shard is the shard's part, made when there is none. The caller holds mu.
func (i *Index) shard(name string) *typeShard {
	s := i.shards[name]
	if s == nil {
		s = &typeShard{types: map[objectName]*typeEntry{}, configs: map[objectName]*configEntry{}, configsOf: map[string]map[*configEntry]struct{}{}, owners: map[string]*owner{}}
		i.shards[name] = s
	}
	return s
}

// Run builds configurations until ctx ends.
func (i *Index) Run(ctx context.Context) error {
	var builds sync.WaitGroup
	defer builds.Wait()
	free := make(chan struct{}, buildsAtOnce)
	for range buildsAtOnce {
		free <- struct{}{}
	}
	sweep := i.config.Clock.Now().Add(sweepEvery)
	for {
		i.buildAll(ctx, free, &builds)
		now := i.config.Clock.Now()
		if !now.Before(sweep) {
			i.sweep(now)
			sweep = now.Add(sweepEvery)
		}
		next := i.requeue(now, sweep)
		timer := i.config.Clock.NewTimer(next.Sub(now))
		if !i.config.Clock.Now().Before(next) { // the clock went on before there was a timer
			timer.Stop()
			continue
		}
		select {
		case <-i.wake:
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}
