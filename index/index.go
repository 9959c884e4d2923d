package index

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"frontproxy/index/shards"
)

// Grace is how long a shard that was never read makes what is missing
// ErrNotSynced rather than ErrUnknown.
const Grace = 5 * time.Minute

// Index is where everything is. Use New. It is safe for concurrent use.
type Index struct {
	clock clock.PassiveClock

	mu sync.RWMutex // guards everything below

	shards   []*shardRecord // by shardID; 0 is unused
	shardIDs map[string]shardID
	listed   bool // root has answered
	started  time.Time
	// graceEnds is when nothing missing is excused any more; zero: nothing is.
	graceEnds time.Time

	names    ids // of clusters
	clusters slab[cluster]
	// extra has the second and further copies of clusters on several shards.
	extra map[clusterID][]clusterCopy
	// former has the clusters that were seen on several shards, by name.
	former map[string]*former

	places     ids // of workspaces
	workspaces slab[workspace]
	longNames  map[workspaceID]string // of those with no room for theirs
	mounts     map[workspaceID]*url.URL

	types typeTable
}

// New returns an empty index, which answers ErrNotSynced until root has
// answered, or for Grace from now.
func New(c clock.PassiveClock) *Index {
	x := &Index{
		clock:     c,
		shards:    []*shardRecord{nil},
		shardIDs:  map[string]shardID{},
		started:   c.Now(),
		names:     newIDs(),
		extra:     map[clusterID][]clusterCopy{},
		former:    map[string]*former{},
		places:    newIDs(),
		mounts:    map[workspaceID]*url.URL{},
		longNames: map[workspaceID]string{},
		types:     typeTable{ids: map[typeRef]typeID{}},
	}
	x.setGrace()
	return x
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
	// Which tables have been listed once, and what they hold.
	clustersRead, workspacesRead bool
	clusters, workspaces         int
}

// SetShard implements shards.Registry.
func (x *Index) SetShard(name string, s *shards.Shard) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.shards[x.shardID(name)].shard = s
}

// shardID returns the slot of a shard, a new one when it is not known.
func (x *Index) shardID(name string) shardID {
	if id, ok := x.shardIDs[name]; ok {
		return id
	}
	id := slices.Index(x.shards[1:], nil) + 1
	if id == 0 {
		id = len(x.shards)
		if id >= int(conflict) {
			panic("index: more than 65534 shards")
		}
		x.shards = append(x.shards, nil)
	}
	x.shards[id] = &shardRecord{name: name, firstSeen: x.clock.Now()}
	x.shardIDs[name] = shardID(id) //nolint:gosec // bounded above
	x.setGrace()
	return shardID(id) //nolint:gosec // bounded above
}

// RemoveShard implements shards.Registry. Its feeds have stopped.
func (x *Index) RemoveShard(name string) {
	x.mu.RLock()
	id, ok := x.shardIDs[name]
	x.mu.RUnlock()
	if !ok {
		return
	}
	x.sweepWorkspaces(id, never)
	x.sweepClusters(id, never)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.shards[id] = nil
	delete(x.shardIDs, name)
	x.setGrace()
}

// ShardsListed implements shards.Registry.
func (x *Index) ShardsListed() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.listed = true
	x.setGrace()
}

// setGrace computes graceEnds.
func (x *Index) setGrace() {
	x.graceEnds = time.Time{}
	if !x.listed {
		x.graceEnds = x.started.Add(Grace)
	}
	for _, s := range x.shards {
		if s == nil || s.clustersRead && s.workspacesRead {
			continue
		}
		if end := s.firstSeen.Add(Grace); end.After(x.graceEnds) {
			x.graceEnds = end
		}
	}
}

// missing is the error for what no shard shows.
func (x *Index) missing() error {
	if !x.graceEnds.IsZero() && x.clock.Now().Before(x.graceEnds) {
		return ErrNotSynced
	}
	return ErrUnknown
}

// Shard returns a listed shard, nil when there is none of that name or it never
// had a usable address.
func (x *Index) Shard(name string) *shards.Shard {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if id, ok := x.shardIDs[name]; ok {
		return x.shards[id].shard
	}
	return nil
}

// Shards returns the listed shards that have a usable address, by name.
func (x *Index) Shards() []*shards.Shard {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var all []*shards.Shard
	for _, s := range x.shards {
		if s != nil && s.shard != nil {
			all = append(all, s.shard)
		}
	}
	slices.SortFunc(all, func(a, b *shards.Shard) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Count is how much a shard shows.
type Count struct {
	Shard                       string
	LogicalClusters, Workspaces int
}

// Counts returns the counts of the listed shards, by name.
func (x *Index) Counts() []Count {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var all []Count
	for _, s := range x.shards {
		if s != nil {
			all = append(all, Count{Shard: s.name, LogicalClusters: s.clusters, Workspaces: s.workspaces})
		}
	}
	slices.SortFunc(all, func(a, b Count) int { return strings.Compare(a.Shard, b.Shard) })
	return all
}
