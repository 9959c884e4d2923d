package workspacetypes

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/authn/issuer"
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

// Config is what a Index needs.
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
	// those that serve by a trust that is to end, see configEntry.until.
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
	owners                     map[string]*owner // of types, by cluster
}

// typeEntry is a type that names configurations.
type typeEntry struct {
	name        objectName
	version     string
	configs     []*configEntry // as named; at most MaxConfigurations
	dropped     int            // named beyond that
	evaluations chan struct{}
	owner       *owner
	record      *Record // what requests read; replaced, never edited
	seen        uint64
}

// configEntry is a configuration that exists, or that a type names.
type configEntry struct {
	name    objectName
	shard   string
	present bool
	version string
	seen    uint64
	users   map[*typeEntry]struct{}

	spec    *jwt.Spec // nil if the object does not exist
	specErr error     // why spec is not to be built
	login   loginAnnotations

	built   *jwt.Configuration // the last that built; nil when none is in use
	serving []*jwt.Authenticator
	// next is of spec and takes built's place at until, or before that when it
	// has the keys of the issuers that it trusts otherwise; nil when none waits.
	next      *jwt.Configuration
	until     time.Time
	current   bool   // built is of spec
	of        string // built's version
	queued    bool
	err       error // of the last build
	failures  int
	due       time.Time
	loggedErr error // the error that was logged last; nil when there is none now
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

// entryInWorkspace is how an entry of a configuration is called in verdicts.
func entryInWorkspace(cluster, name string, n int, issuer string) string {
	return fmt.Sprintf("workspace %s/%s jwt[%d] %s", cluster, name, n, issuer)
}

// Authenticators implements authn.TypeSource.
func (x *Index) Authenticators(t index.Type) (*Record, error) {
	shard, ok := x.config.Placement.ShardOf(t.Cluster)
	if !ok {
		return nil, fmt.Errorf("%w: the shard of the type's logical cluster %s is not known", token.ErrUndecided, t.Cluster)
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	s := x.shards[shard]
	if s == nil || !s.typesSynced || !s.configsSynced {
		return nil, fmt.Errorf("%w: types and authentication configurations of shard %s have not been read yet", token.ErrUndecided, shard)
	}
	if e := s.types[objectName{t.Cluster, t.Name}]; e != nil {
		return e.record, nil
	}
	return nil, nil
}

// shard is the shard's part, made when there is none. The caller holds mu.
func (x *Index) shard(name string) *typeShard {
	s := x.shards[name]
	if s == nil {
		s = &typeShard{types: map[objectName]*typeEntry{}, configs: map[objectName]*configEntry{}, owners: map[string]*owner{}}
		x.shards[name] = s
	}
	return s
}

// upsertType takes a WorkspaceType as it is now; configs are the names in its
// spec.authenticationConfigurations.
func (x *Index) upsertType(shard string, name objectName, version string, configs []string, seen uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shard(shard)
	e := s.types[name]
	if len(configs) == 0 {
		if e != nil {
			x.dropType(s, e)
		}
		return
	}
	if e == nil {
		e = &typeEntry{name: name, evaluations: make(chan struct{}, evaluationsAtOnce), owner: s.enterType(name.cluster)}
		s.types[name] = e
	}
	e.version, e.seen = version, seen
	old := e.configs
	e.dropped = max(0, len(configs)-MaxConfigurations)
	e.configs = nil
	for _, config := range configs[:len(configs)-e.dropped] {
		c := x.configEntry(s, shard, objectName{name.cluster, config})
		if !slices.Contains(e.configs, c) {
			e.configs = append(e.configs, c)
			first := len(c.users) == 0
			c.users[e] = struct{}{}
			if first { // otherwise it is built, is being built, or waits for its next try
				x.enqueue(c)
			}
		}
	}
	for _, c := range old {
		if !slices.Contains(e.configs, c) {
			x.unuse(s, c, e)
		}
	}
	x.publish(e)
}

// deleteType forgets a WorkspaceType.
func (x *Index) deleteType(shard string, name objectName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shard(shard)
	if e := s.types[name]; e != nil {
		x.dropType(s, e)
	}
}

func (x *Index) dropType(s *typeShard, e *typeEntry) {
	delete(s.types, e.name)
	s.leaveType(e.name.cluster)
	for _, c := range e.configs {
		x.unuse(s, c, e)
	}
}

// unuse takes a type off a configuration, and ends one that is left without.
func (x *Index) unuse(s *typeShard, c *configEntry, e *typeEntry) {
	delete(c.users, e)
	if len(c.users) > 0 {
		return
	}
	x.stop(c)
	if !c.present {
		delete(s.configs, c.name)
	}
}

// configEntry is the entry of name, made when there is none.
func (x *Index) configEntry(s *typeShard, shard string, name objectName) *configEntry {
	c := s.configs[name]
	if c == nil {
		c = &configEntry{name: name, shard: shard, users: map[*typeEntry]struct{}{}}
		s.configs[name] = c
	}
	return c
}

// upsertConfig takes a WorkspaceAuthenticationConfiguration as it is now; spec
// is its spec's JSON.
func (x *Index) upsertConfig(shard string, name objectName, version string, raw []byte, seen uint64) {
	spec, err := jwt.ParseSpec(raw)
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.configEntry(x.shard(shard), shard, name)
	same := c.present && c.version == version
	unchanged := c.present && spec.Sum == c.spec.Sum
	c.present, c.version, c.seen = true, version, seen
	switch {
	case same && unchanged:
		return
	case unchanged: // only the record names the version
		if c.current {
			c.of = version
		}
	default:
		x.change(c, spec, err)
	}
	x.publishUsers(c)
}

// deleteConfig forgets a WorkspaceAuthenticationConfiguration.
func (x *Index) deleteConfig(shard string, name objectName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shard(shard)
	if c := s.configs[name]; c != nil {
		x.dropConfig(s, c)
	}
}

func (x *Index) dropConfig(s *typeShard, c *configEntry) {
	x.stop(c)
	c.present, c.version, c.spec, c.specErr, c.err, c.failures, c.loggedErr = false, "", nil, nil, nil, 0, nil
	c.login = loginAnnotations{}
	if len(c.users) == 0 {
		delete(s.configs, c.name)
		return
	}
	x.publishUsers(c)
}

// endTypes ends a list of types: what was not seen in it does not exist.
func (x *Index) endTypes(shard string, seen uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shard(shard)
	for _, e := range slices.Collect(maps.Values(s.types)) {
		if e.seen != seen {
			x.dropType(s, e)
		}
	}
	s.typesSynced = true
}

// endConfigs ends a list of configurations.
func (x *Index) endConfigs(shard string, seen uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shard(shard)
	for _, c := range slices.Collect(maps.Values(s.configs)) {
		if c.present && c.seen != seen {
			x.dropConfig(s, c)
		}
	}
	s.configsSynced = true
}

// enqueue has Run build c when a type names it and it is not built yet.
func (x *Index) enqueue(c *configEntry) {
	if c.queued || c.current || c.next != nil || !c.buildable() || len(c.users) == 0 {
		return
	}
	c.queued = true
	x.todo.push(c)
	x.wakeUp()
}

// publishUsers renews the records of the types that name c.
func (x *Index) publishUsers(c *configEntry) {
	for e := range c.users {
		x.publish(e)
	}
}

// publish renews the record of a type. The old one stays as it is for the
// requests that read it.
func (x *Index) publish(e *typeEntry) {
	record := &Record{
		ByIssuer: map[string][]token.Authenticator{},
		Versions: []string{"workspacetype/" + e.name.name + "@" + e.version},
	}
	for _, c := range e.configs {
		c.join(record, e)
		if client, err := c.loginClient(); client != nil && err == nil {
			record.Login = append(record.Login, *client)
		}
	}
	if e.dropped > 0 {
		record.Undecided = append(record.Undecided, fmt.Sprintf("the type names %d more authentication configurations than the %d that the proxy uses", e.dropped, MaxConfigurations))
	}
	e.record = record
}

// join adds what c has to offer to a type's record.
func (c *configEntry) join(record *Record, e *typeEntry) {
	who := "authentication configuration " + c.name.name
	if !c.present {
		record.Undecided = append(record.Undecided, who+" does not exist")
		return
	}
	record.Versions = append(record.Versions, "workspaceauthenticationconfiguration/"+c.name.name+"@"+c.version+c.instead())
	served := map[issuer.Key]bool{}
	for _, a := range c.serving {
		served[a.Trust()] = true
		record.ByIssuer[a.Issuer().URL()] = append(record.ByIssuer[a.Issuer().URL()], jwt.Member{Authenticator: a, Types: e.evaluations, Owners: e.owner.evaluations})
	}
	why := c.trouble()
	if why == "" {
		return
	}
	record.Undecided = append(record.Undecided, who+" "+why)
	if c.spec == nil {
		return
	}
	// Nobody else is asked about tokens of an issuer that the type names.
	for i := range c.spec.Entries {
		if trust := jwt.TrustOf(&c.spec.Entries[i]); !served[trust.Key()] {
			record.ByIssuer[trust.URL] = append(record.ByIssuer[trust.URL], notReady{
				name:   entryInWorkspace(c.name.cluster, c.name.name, i, trust.URL),
				issuer: trust.URL,
				reason: why,
			})
		}
	}
}

// trouble says why c is not as its spec wants it; empty when it is.
func (c *configEntry) trouble() string {
	switch {
	case c.specErr != nil:
		return "is broken: " + c.specErr.Error()
	case c.err != nil:
		return "is broken: " + c.err.Error()
	case c.next != nil:
		return "waits for the keys of its issuers"
	case !c.current:
		return "is being built"
	}
	return ""
}

// instead says that an earlier version serves; empty when none does.
func (c *configEntry) instead() string {
	if c.current || len(c.serving) == 0 {
		return ""
	}
	return " (as far as it trusts the same, " + c.of + " stays in use)"
}

// Run builds configurations until ctx ends.
func (x *Index) Run(ctx context.Context) error {
	var builds sync.WaitGroup
	defer builds.Wait()
	free := make(chan struct{}, buildsAtOnce)
	for range buildsAtOnce {
		free <- struct{}{}
	}
	sweep := x.config.Clock.Now().Add(sweepEvery)
	for {
		x.buildAll(ctx, free, &builds)
		now := x.config.Clock.Now()
		if !now.Before(sweep) {
			x.sweep(now)
			sweep = now.Add(sweepEvery)
		}
		timer := x.config.Clock.NewTimer(x.requeue(now, sweep))
		select {
		case <-x.wake:
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// MaxConfigurations is how many configurations of a type are used.
const MaxConfigurations = 16

// evaluationsAtOnce is how many tokens' CEL expressions run at once for a
// workspace type; others wait.
const evaluationsAtOnce = 2

// evaluationsOfOwner is how many tokens' CEL expressions run at once for all the
// types of one logical cluster: half of the processors at most, however many
// types it has. The other half is its neighbours'.
func evaluationsOfOwner() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// owner is a logical cluster that has types with configurations.
type owner struct {
	// evaluations has a place for each evaluation that may run now.
	evaluations chan struct{}
	types       int // that it has
}

// enterType counts one more type of cluster and returns its owner. The caller
// holds Index.mu.
func (s *typeShard) enterType(cluster string) *owner {
	o := s.owners[cluster]
	if o == nil {
		o = &owner{evaluations: make(chan struct{}, evaluationsOfOwner())}
		s.owners[cluster] = o
	}
	o.types++
	return o
}

// leaveType counts one less.
func (s *typeShard) leaveType(cluster string) {
	if o := s.owners[cluster]; o != nil {
		if o.types--; o.types == 0 {
			delete(s.owners, cluster)
		}
	}
}
