package index

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"frontproxy/index/shards"
)

var (
	modelSeed = flag.Uint64("model.seed", 0, "seed of TestModel; 0: a new one")
	modelRuns = flag.Int("model.runs", 150, "sequences of TestModel, of 150 events each")
)

// model answers lookups by brute force from what each shard shows.
type model struct {
	clock   clock.PassiveClock
	started time.Time
	listed  bool
	shards  map[string]*modelShard
}

type modelShard struct {
	since                        time.Time
	usable                       bool
	clustersRead, workspacesRead bool
	clusters                     map[string]*logicalCluster
	workspaces                   map[[2]string]*workspaceObject // parent, name
}

func (m *model) missing() error {
	now := m.clock.Now()
	if !m.listed && now.Sub(m.started) < Grace {
		return ErrNotSynced
	}
	for _, s := range m.shards {
		if (!s.clustersRead || !s.workspacesRead) && now.Sub(s.since) < Grace {
			return ErrNotSynced
		}
	}
	return ErrUnknown
}

func (m *model) holder(cluster string) (string, error) {
	var all, unmarked []string
	for name, s := range m.shards {
		if o := s.clusters[cluster]; o != nil {
			all = append(all, name)
			if o.Metadata.Annotations.Migrating == nil {
				unmarked = append(unmarked, name)
			}
		}
	}
	switch {
	case len(all) == 0:
		return "", m.missing()
	case len(all) == 1:
		return all[0], nil
	case len(unmarked) == 1:
		return unmarked[0], nil
	}
	return "", ErrConflict
}

// resolve returns a cluster, or a mount's URL and the cluster that it is in. With ErrConflict it returns the cluster if
// the path ends there.
func (m *model) resolve(path string) (cluster, mount string, err error) {
	segments := strings.Split(path, ":")
	cluster = segments[0]
	for i := 1; ; i++ {
		shard, err := m.holder(cluster)
		if errors.Is(err, ErrConflict) && i == len(segments) {
			return cluster, "", err
		}
		if err != nil {
			return "", "", err
		}
		if i == len(segments) {
			return cluster, "", nil
		}
		o := m.shards[shard].workspaces[[2]string{cluster, segments[i]}]
		switch {
		case o == nil:
			return "", "", m.missing()
		case o.Status.Phase == "Unavailable":
			return "", "", ErrUnavailable
		case o.Status.Phase == "Scheduling":
			return "", "", m.missing()
		case o.Spec.Mount != nil:
			if i < len(segments)-1 || o.Spec.URL == "" {
				return "", "", ErrUnknown
			}
			return cluster, o.Spec.URL, nil
		case o.Spec.Cluster == "":
			return "", "", m.missing()
		}
		cluster = o.Spec.Cluster
	}
}

func (m *model) lookup(path string) answer {
	cluster, mount, err := m.resolve(path)
	switch {
	case err != nil:
		return answer{Cluster: cluster, Err: err}
	case mount != "":
		return answer{Mount: mount, MountParent: cluster}
	}
	shard, _ := m.holder(cluster)
	if !m.shards[shard].usable {
		return answer{Err: m.missing()}
	}
	return answer{Cluster: cluster, Shard: shard, Type: m.typeOf(cluster, shard)}
}

func (m *model) typeOf(cluster, shard string) Type {
	named := false
	claims := map[string]typeRef{}
	conflicting := false
	for name, s := range m.shards {
		for at, o := range s.workspaces {
			if o.Spec.Mount != nil || o.Spec.Cluster != cluster {
				continue
			}
			named = true
			if h, err := m.holder(at[0]); err == nil && h != name {
				continue
			}
			ref := typeRef{path: o.Spec.Type.Path, name: o.Spec.Type.Name}
			if ref.name == "" {
				ref = typeRef{}
			}
			key := at[0] + " " + at[1]
			if old, ok := claims[key]; ok && old != ref {
				conflicting = true
			}
			claims[key] = ref
		}
	}
	o := m.shards[shard].clusters[cluster]
	byAnnotation := func() Type {
		if o.Spec.Owner != nil {
			return Type{Err: m.missing()}
		}
		return m.resolveType(parseTypeRef(o.Metadata.Annotations.Type))
	}
	switch {
	case cluster == "root":
		return byAnnotation()
	case conflicting || len(claims) > 1:
		return Type{Err: ErrConflict}
	case len(claims) == 1:
		for _, ref := range claims {
			return m.resolveType(ref)
		}
	case named || !strings.HasPrefix(cluster, "home"):
		return Type{Err: m.missing()}
	case errors.Is(m.missing(), ErrNotSynced):
		return Type{Err: ErrNotSynced}
	}
	return byAnnotation()
}

func (m *model) resolveType(ref typeRef) Type {
	if ref.name == "" {
		return Type{}
	}
	t := Type{Name: ref.name, Path: ref.path}
	cluster, mount, err := m.resolve(ref.path)
	switch {
	case err != nil:
		t.Err = err
	case mount != "":
		t.Err = ErrUnknown
	default:
		t.Cluster = cluster
	}
	return t
}

var (
	modelShards   = []string{"s1", "s2", "s3"}
	modelClusters = []string{"root", "home00001", "home00002", "c1", "c2", "c3", "c4"}
	modelNames    = []string{"a", "b", "c"}
	modelTypes    = []string{"", "root:t", "root:a:t", "c1:u", "home00001:a:u", "nowhere:t"}
)

// driver sends random events to an index and to a model.
type driver struct {
	*world
	m   *model
	rnd *rand.Rand
	log []string
}

func pick[T any](d *driver, from []T) T { return from[d.rnd.IntN(len(from))] }

func (d *driver) chance(percent int) bool { return d.rnd.IntN(100) < percent }

func (d *driver) note(format string, args ...any) {
	d.log = append(d.log, fmt.Sprintf(format, args...))
}

func (d *driver) cluster() *logicalCluster {
	o := lc(pick(d, modelClusters), annotated(pick(d, modelTypes)))
	if d.chance(25) {
		migrating(o)
	}
	if d.chance(25) {
		owned(o)
	}
	return o
}

func (d *driver) workspace() *workspaceObject {
	ref := parseTypeRef(pick(d, modelTypes))
	o := ws(pick(d, modelClusters), pick(d, modelNames), "", typed(ref.path, ref.name))
	if d.chance(85) {
		o.Spec.Cluster = pick(d, modelClusters)
	}
	if d.chance(15) {
		o.Spec.Mount = &struct{}{}
	}
	if d.chance(50) {
		o.Spec.URL = "https://" + pick(d, modelNames) + ".example/x"
	}
	o.Status.Phase = pick(d, []string{"Ready", "Ready", "Ready", "Ready", "", "Initializing", "Scheduling", "Unavailable", "Inactive", "Terminating", "Deleting", "PhaseOfALaterKCP"})
	return o
}

// step does one random thing.
func (d *driver) step() {
	name := pick(d, modelShards)
	s := d.m.shards[name]
	n := d.rnd.IntN(100)
	switch {
	case s == nil:
		d.addShard(name)
	case n < 2:
		d.note("remove shard %s", name)
		// A Watcher empties the tables first; the index need not rely on it.
		d.RemoveShard(name)
		delete(d.m.shards, name)
	case n < 4:
		d.note("clock")
		d.clock.SetTime(d.clock.Now().Add(time.Duration(d.rnd.IntN(120)) * time.Second))
	case n < 5:
		d.setAddress(name, !s.usable)
	case n < 6:
		d.note("listed")
		d.ShardsListed()
		d.m.listed = true
	case n < 12:
		d.listClusters(name, s)
	case n < 18:
		d.listWorkspaces(name, s)
	case n < 40:
		o := d.cluster()
		d.note("%s + %+v", name, *o)
		d.add(name, o)
		s.clusters[o.Metadata.Annotations.Cluster] = o
	case n < 50:
		o := d.cluster()
		d.note("%s - cluster %s", name, o.Metadata.Annotations.Cluster)
		d.del(name, o)
		delete(s.clusters, o.Metadata.Annotations.Cluster)
	case n < 85:
		o := d.workspace()
		d.note("%s + %+v", name, *o)
		d.add(name, o)
		s.workspaces[[2]string{o.Metadata.Annotations.Cluster, o.Metadata.Name}] = o
	default:
		o := d.workspace()
		d.note("%s - workspace %s %s", name, o.Metadata.Annotations.Cluster, o.Metadata.Name)
		d.del(name, o)
		delete(s.workspaces, [2]string{o.Metadata.Annotations.Cluster, o.Metadata.Name})
	}
}

func (d *driver) addShard(name string) {
	d.note("add shard %s", name)
	d.shard(name)
	d.m.shards[name] = &modelShard{
		since: d.clock.Now(), usable: true,
		clusters: map[string]*logicalCluster{}, workspaces: map[[2]string]*workspaceObject{},
	}
}

func (d *driver) setAddress(name string, usable bool) {
	d.note("shard %s usable: %v", name, usable)
	var s *shards.Shard
	if usable {
		s = &shards.Shard{Name: name}
	}
	d.SetShard(name, s)
	d.m.shards[name].usable = usable
}

// listClusters sends a list, which may break off.
func (d *driver) listClusters(name string, s *modelShard) {
	table := d.tables[name].clusters
	items := map[string]*logicalCluster{}
	table.Begin()
	for range d.rnd.IntN(6) {
		o := d.cluster()
		table.Upsert(o)
		items[o.Metadata.Annotations.Cluster] = o
		s.clusters[o.Metadata.Annotations.Cluster] = o
	}
	whole := d.chance(70)
	if whole {
		table.End("")
		s.clusters, s.clustersRead = items, true
	}
	d.note("%s list whole=%v clusters %v", name, whole, items)
}

func (d *driver) listWorkspaces(name string, s *modelShard) {
	table := d.tables[name].workspaces
	items := map[[2]string]*workspaceObject{}
	table.Begin()
	for range d.rnd.IntN(10) {
		o := d.workspace()
		table.Upsert(o)
		items[[2]string{o.Metadata.Annotations.Cluster, o.Metadata.Name}] = o
		s.workspaces[[2]string{o.Metadata.Annotations.Cluster, o.Metadata.Name}] = o
	}
	whole := d.chance(70)
	if whole {
		table.End("")
		s.workspaces, s.workspacesRead = items, true
	}
	d.note("%s list whole=%v workspaces %v", name, whole, items)
}

// paths are every cluster and every path below it of two names.
func modelPaths() []string {
	var paths []string
	for _, c := range append(slices.Clone(modelClusters), "nowhere", "") {
		paths = append(paths, c)
		for _, a := range append(slices.Clone(modelNames), "") {
			paths = append(paths, c+":"+a)
			for _, b := range modelNames {
				paths = append(paths, c+":"+a+":"+b, c+":"+a+":"+b+":"+a)
			}
		}
	}
	return paths
}

// TestModel compares the index with the model after every batch of random
// events: over three shards, clusters that move and are shown twice, workspaces
// and mounts that come, change and go in any order, lists whole and broken off,
// shards removed and added again, and time.
func TestModel(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = rand.Uint64() //nolint:gosec // a test's seed
	}
	t.Logf("-model.seed=%d", seed)
	paths := modelPaths()
	seen := map[error]int{}
	runs := *modelRuns
	if testing.Short() {
		runs /= 3
	}
	for run := range runs {
		w := newWorld()
		d := &driver{
			world: w, rnd: rand.New(rand.NewPCG(seed, uint64(run))), //nolint:gosec // a test's seed
			m: &model{clock: w.clock, started: epoch, shards: map[string]*modelShard{}},
		}
		for range 30 {
			for range 5 {
				d.step()
			}
			w.check(t)
			for _, p := range paths {
				want, got := d.m.lookup(p), w.lookup(p)
				if got != want {
					t.Fatalf("-model.seed=%d, run %d: Lookup(%q)\n got %+v\nwant %+v\nafter\n%s",
						seed, run, p, got, want, strings.Join(d.log, "\n"))
				}
				seen[got.Err]++
				seen[got.Type.Err]++
			}
		}
		for _, name := range modelShards {
			w.RemoveShard(name)
		}
		if w.clusterNames.len()+w.workspaceKeys.len()+len(w.extraCopies)+len(w.mounts)+len(w.types.ids) != 0 {
			t.Fatalf("-model.seed=%d, run %d: records are left without shards", seed, run)
		}
	}
	for _, err := range []error{nil, ErrUnknown, ErrNotSynced, ErrUnavailable, ErrConflict} {
		if seen[err] == 0 {
			t.Errorf("the events never led to %v", err)
		}
	}
}
