package index

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"frontproxy/index/shards"
)

// Grace is how long lookups report ErrNotSynced rather than ErrUnknown while a shard
// has never been read.
const Grace = 5 * time.Minute

// Index knows which shard holds each logical cluster, and its type. Use New. It is
// safe for concurrent use.
type Index struct {
	clock clock.PassiveClock

	mu sync.RWMutex // guards everything below

	shards   []*shardRecord // by shardID; 0 is unused
	shardIDs map[string]shardID
	// rootGrace is the end of the grace period for root's first answer; zero: root has
	// answered. graceEnds is the end of those for root and for shards that were not read;
	// zero: there is none.
	rootGrace, graceEnds time.Time

	clusterNames hashIndex // of clusters
	clusters     slab[cluster]
	// extraCopies has the second and further copies of clusters that are on several
	// shards.
	extraCopies map[clusterID][]clusterCopy
	// previous has the clusters that were seen on several shards, by name, and those in
	// vanished. A cluster that is gone is in it only if it is in vanished.
	previous map[string]*previousShards
	vanished []string // names of clusters, each once; see vanish
	marked   int      // copies that are marked as migrating

	onMove       func(cluster string) // nil: nobody wants to know
	changedMoves []string             // that onMove is to be told of
	// anyMoves may be read without the lock. False: no cluster is moving, and none that has
	// moved is left.
	anyMoves atomic.Bool

	workspaceKeys hashIndex // of workspaces
	workspaces    slab[workspace]
	longNames     map[workspaceID]string // of workspaces whose name does not fit the record
	mounts        map[workspaceID]*url.URL

	types typeTable
}

// New returns an empty index. It returns ErrNotSynced until root has answered, or for
// Grace from now.
func New(c clock.PassiveClock) *Index {
	idx := &Index{
		clock:         c,
		shards:        []*shardRecord{nil},
		shardIDs:      map[string]shardID{},
		rootGrace:     c.Now().Add(Grace),
		clusterNames:  newHashIndex(),
		extraCopies:   map[clusterID][]clusterCopy{},
		previous:      map[string]*previousShards{},
		workspaceKeys: newHashIndex(),
		mounts:        map[workspaceID]*url.URL{},
		longNames:     map[workspaceID]string{},
		types:         typeTable{ids: map[typeRef]typeID{}},
	}
	idx.setGrace()
	return idx
}

// shardID is a slot of Index.shards; 0 is none.
type shardID uint16

// conflict is the holder of a cluster that several shards claim.
const conflict = ^shardID(0)

// shardRecord is one listed shard.
type shardRecord struct {
	name      string
	shard     *shards.Shard // nil: no usable address yet
	firstSeen time.Time
	// Which tables have been listed once, and how many objects they hold.
	clustersRead, workspacesRead bool
	clusters, workspaces         int
	// revision is the highest resource version that its lists of LogicalClusters and their
	// events had; 0: unknown. It is reset by each list, since a shard's storage may be
	// replaced.
	revision uint64
}

// reached notes a resource version of the shard.
func (s *shardRecord) reached(version uint64) { s.revision = max(s.revision, version) }

// SetShard implements shards.Registry.
func (idx *Index) SetShard(name string, s *shards.Shard) {
	idx.mu.Lock()
	defer idx.mu.Unlock()
	idx.shards[idx.ensureShard(name)].shard = s
}

// ensureShard returns the slot of a shard, or a new one.
func (idx *Index) ensureShard(name string) shardID {
	if id, ok := idx.shardIDs[name]; ok {
		return id
	}
	id := slices.Index(idx.shards[1:], nil) + 1
	if id == 0 {
		id = len(idx.shards)
		if id >= int(conflict) {
			panic("index: more than 65534 shards")
		}
		idx.shards = append(idx.shards, nil)
	}
	idx.shards[id] = &shardRecord{name: name, firstSeen: idx.clock.Now()}
	idx.shardIDs[name] = shardID(id) //nolint:gosec // bounded above
	idx.setGrace()
	return shardID(id) //nolint:gosec // bounded above
}

// RemoveShard implements shards.Registry. Its watches have stopped.
func (idx *Index) RemoveShard(name string) {
	idx.mu.RLock()
	id, ok := idx.shardIDs[name]
	idx.mu.RUnlock()
	if !ok {
		return
	}
	idx.sweepWorkspaces(id, never)
	idx.sweepClusters(id, never)
	idx.mu.Lock()
	defer idx.mu.Unlock()
	idx.shards[id] = nil
	delete(idx.shardIDs, name)
	idx.setGrace()
}

// ShardsListed implements shards.Registry.
func (idx *Index) ShardsListed() {
	idx.mu.Lock()
	defer idx.mu.Unlock()
	idx.rootGrace = time.Time{}
	idx.setGrace()
}

// setGrace computes graceEnds.
func (idx *Index) setGrace() {
	idx.graceEnds = idx.rootGrace
	for _, s := range idx.shards {
		if s == nil || s.clustersRead && s.workspacesRead {
			continue
		}
		if end := s.firstSeen.Add(Grace); end.After(idx.graceEnds) {
			idx.graceEnds = end
		}
	}
}

// missing returns the error for a cluster that no shard shows.
func (idx *Index) missing() error {
	if idx.clock.Now().Before(idx.graceEnds) {
		return ErrNotSynced
	}
	return ErrUnknown
}

// ShardNamed returns a listed shard. ErrNotSynced means that root has not answered,
// or that the shard has no usable address yet; ErrUnknown means that root does not
// list it.
func (idx *Index) ShardNamed(name string) (*shards.Shard, error) {
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	id, ok := idx.shardIDs[name]
	switch {
	case ok && idx.shards[id].shard != nil:
		return idx.shards[id].shard, nil
	case ok || !idx.rootGrace.IsZero():
		return nil, ErrNotSynced
	}
	return nil, ErrUnknown
}

// Shards returns the listed shards that have a usable address, by name.
func (idx *Index) Shards() []*shards.Shard {
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	var all []*shards.Shard
	for _, s := range idx.shards {
		if s != nil && s.shard != nil {
			all = append(all, s.shard)
		}
	}
	slices.SortFunc(all, func(a, b *shards.Shard) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Count says how many objects a shard shows.
type Count struct {
	Shard                       string
	LogicalClusters, Workspaces int
}

// Counts returns the counts of the listed shards, by name.
func (idx *Index) Counts() []Count {
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	var all []Count
	for _, s := range idx.shards {
		if s != nil {
			all = append(all, Count{Shard: s.name, LogicalClusters: s.clusters, Workspaces: s.workspaces})
		}
	}
	slices.SortFunc(all, func(a, b Count) int { return strings.Compare(a.Shard, b.Shard) })
	return all
}
