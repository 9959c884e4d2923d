package index

import (
	"net/url"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/index/shards"
)

var epoch = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)

// world drives an Index the way a Watcher does.
type world struct {
	*Index
	clock  *clocktesting.FakePassiveClock
	tables map[string]*shardTables
}

type shardTables struct{ clusters, workspaces shards.Table }

func newWorld() *world {
	c := clocktesting.NewFakePassiveClock(epoch)
	return &world{Index: New(c), clock: c, tables: map[string]*shardTables{}}
}

// shard adds a shard that was never read.
func (w *world) shard(name string) *shardTables {
	w.SetShard(name, &shards.Shard{Name: name, BaseURL: &url.URL{Scheme: "https", Host: name}})
	f := w.Watches()
	t := &shardTables{clusters: f[0].Table(name), workspaces: f[1].Table(name)}
	w.tables[name] = t
	return t
}

// synced adds a shard that has been read and holds nothing yet.
func (w *world) synced(names ...string) {
	for _, n := range names {
		t := w.shard(n)
		t.clusters.Begin()
		t.clusters.End("")
		t.workspaces.Begin()
		t.workspaces.End("")
	}
	w.ShardsListed()
}

func (w *world) add(shard string, objs ...shards.Object) {
	for _, o := range objs {
		w.tables[shard].of(o).Upsert(o)
	}
}

func (w *world) del(shard string, objs ...shards.Object) {
	for _, o := range objs {
		w.tables[shard].of(o).Delete(o)
	}
}

func (t *shardTables) of(o shards.Object) shards.Table {
	if _, ok := o.(*logicalCluster); ok {
		return t.clusters
	}
	return t.workspaces
}

type lcOption func(*logicalCluster)

func lc(name string, opts ...lcOption) *logicalCluster {
	o := &logicalCluster{}
	o.Metadata.Name = "cluster"
	o.Metadata.Annotations.Cluster = name
	for _, f := range opts {
		f(o)
	}
	return o
}

func annotated(typ string) lcOption {
	return func(o *logicalCluster) { o.Metadata.Annotations.Type = typ }
}

func migrating(o *logicalCluster) { s := ""; o.Metadata.Annotations.Migrating = &s }

func owned(o *logicalCluster) { o.Spec.Owner = &struct{}{} }

type wsOption func(*workspaceObject)

func ws(parent, name, child string, opts ...wsOption) *workspaceObject {
	o := &workspaceObject{}
	o.Metadata.Annotations.Cluster = parent
	o.Metadata.Name = name
	o.Spec.Cluster = child
	o.Status.Phase = "Ready"
	for _, f := range opts {
		f(o)
	}
	return o
}

func typed(path, name string) wsOption {
	return func(o *workspaceObject) { o.Spec.Type.Path, o.Spec.Type.Name = path, name }
}

func phased(p string) wsOption { return func(o *workspaceObject) { o.Status.Phase = p } }

func mounted(u string) wsOption {
	return func(o *workspaceObject) { o.Spec.Mount, o.Spec.URL = &struct{}{}, u }
}

// answer is a lookup's outcome in a form that is easy to compare.
type answer struct {
	Cluster, Shard, Mount, MountParent string
	Type                               Type
	Err                                error
}

func (w *world) lookup(path string) answer {
	t, err := w.Lookup(path)
	a := answer{Cluster: t.Cluster, MountParent: t.MountParent, Type: t.Type, Err: err}
	if t.Shard != nil {
		a.Shard = t.Shard.Name
	}
	if t.Mount != nil {
		a.Mount = t.Mount.String()
	}
	return a
}

// check verifies the tables' invariants, and that nothing is left when all is
// deleted.
func (w *world) check(t *testing.T) {
	t.Helper()
	x := w.Index
	refs := map[clusterID]uint32{}
	uses := map[typeID]uint32{}
	claims := map[clusterID]int{}
	marked := 0
	for id := workspaceID(1); uint32(id) <= x.workspaces.last; id++ {
		rec := x.workspaces.at(uint32(id))
		if rec.length == 0 {
			continue // a free record
		}
		p := x.keyOf(id)
		if got := x.workspaceByKey(p); got != id {
			t.Fatalf("workspace %d is at %v, where %d is found", id, p, got)
		}
		refs[rec.parent]++
		uses[rec.typ]++
		if rec.child != 0 {
			refs[rec.child]++
			claims[rec.child]++
		}
		if rec.mount && rec.child != 0 {
			t.Fatalf("mount %v has a child", p)
		}
	}
	for id := clusterID(1); uint32(id) <= x.clusters.last; id++ {
		c := x.clusters.at(uint32(id))
		name := c.name
		if name == "" {
			continue // a free record
		}
		copies := x.extraCopies[id]
		if c.copy.shard != 0 {
			copies = append(copies[:len(copies):len(copies)], c.copy)
		}
		for _, cp := range copies {
			refs[id]++
			uses[cp.typ]++
			if cp.migrating {
				marked++
			}
		}
		n := 0
		for at := c.claimants; at != 0; at = x.workspaces.at(uint32(at)).next {
			n++
		}
		if x.clusterByName(name) != id || c.refs != refs[id] && refs[id] != 0 || n != claims[id] || c.holder != x.holderOf(id) {
			t.Fatalf("cluster %q: %+v, want refs %d, claims %d, holder %d", name, *c, refs[id], claims[id], x.holderOf(id))
		}
	}
	if some := marked > 0 || len(x.previous) > 0 || len(x.extraCopies) > 0; x.marked != marked || x.anyMoves.Load() != some {
		t.Fatalf("%d copies are counted as marked, and there are %d; %d clusters have moved, %d are on several shards, and moves count: %v",
			x.marked, marked, len(x.previous), len(x.extraCopies), x.anyMoves.Load())
	}
	for id, n := range refs {
		if c := x.clusters.at(uint32(id)); c.refs != n || x.clusterByName(c.name) != id {
			t.Fatalf("cluster %d: %+v, want refs %d", id, *c, n)
		}
	}
	for ref, id := range x.types.ids {
		if u := x.types.refs.at(uint32(id)); u.typeRef != ref || u.uses != uses[id] {
			t.Fatalf("type %v: %+v, want uses %d", ref, *u, uses[id])
		}
	}
	live := func(what string, last uint32, free, used int) {
		if int(last)-free != used {
			t.Fatalf("%s: %d records, %d free, %d in use", what, last, free, used)
		}
	}
	live("clusters", x.clusters.last, len(x.clusters.free), x.clusterNames.len())
	live("workspaces", x.workspaces.last, len(x.workspaces.free), x.workspaceKeys.len())
	live("types", x.types.refs.last, len(x.types.refs.free), len(x.types.ids))
	for id := range x.mounts {
		if !x.workspaces.at(uint32(id)).mount {
			t.Fatalf("workspace %d has a mount's URL and is none", id)
		}
	}
}
