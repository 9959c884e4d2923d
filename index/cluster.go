package index

import "frontproxy/index/shards"

// clusterID is a record of Index.clusters; 0 is none.
type clusterID uint32

// cluster is a logical cluster that something names.
type cluster struct {
	name   string
	copy   clusterCopy // the first; of shard 0: none
	holder shardID     // 0: nobody shows it
	claims workspaceID // the first that names it in spec.cluster
	refs   uint32
}

// clusterCopy is a LogicalCluster object on a shard.
type clusterCopy struct {
	shard     shardID
	migrating bool
	owned     bool   // it has a spec.owner
	typ       typeID // of the annotation; kept only where it may count
	gen       uint32 // of the list or watch that showed it last
}

// logicalCluster is what is read of a LogicalCluster object.
type logicalCluster struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
		Annotations     struct {
			Cluster   string  `json:"kcp.io/cluster"`
			Type      string  `json:"internal.tenancy.kcp.io/type"`
			Migrating *string `json:"internal.kcp.io/migrating"`
		} `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Owner *struct{} `json:"owner"`
	} `json:"spec"`
}

// Version implements shards.Object.
func (o *logicalCluster) Version() string { return o.Metadata.ResourceVersion }

// valid says that it is the one that stands for its logical cluster.
func (o *logicalCluster) valid() bool {
	return o.Metadata.Name == "cluster" && o.Metadata.Annotations.Cluster != ""
}

// clusterTable is a shard's table of LogicalClusters.
type clusterTable struct {
	x     *Index
	shard shardID
	gen   uint32
}

// Begin implements shards.Table.
func (t *clusterTable) Begin() { t.gen = nextGen(t.gen) }

// Upsert implements shards.Table.
func (t *clusterTable) Upsert(obj shards.Object) {
	o, ok := obj.(*logicalCluster)
	if !ok || !o.valid() {
		return
	}
	x := t.x
	x.mu.Lock()
	defer x.mu.Unlock()
	id := x.clusterID(o.Metadata.Annotations.Cluster)
	cp := x.copyOn(id, t.shard)
	if cp == nil {
		cp = x.addCopy(id, t.shard)
	}
	cp.gen = t.gen
	cp.migrating = o.Metadata.Annotations.Migrating != nil
	cp.owned = o.Spec.Owner != nil
	var ref typeRef
	if annotationMayCount(o.Metadata.Annotations.Cluster) {
		ref = parseTypeRef(o.Metadata.Annotations.Type)
	}
	cp.typ = x.types.swap(cp.typ, ref)
	x.settle(id)
}

// Delete implements shards.Table.
func (t *clusterTable) Delete(obj shards.Object) {
	o, ok := obj.(*logicalCluster)
	if !ok || !o.valid() {
		return
	}
	t.x.mu.Lock()
	defer t.x.mu.Unlock()
	if id := t.x.named(o.Metadata.Annotations.Cluster); id != 0 {
		t.x.dropCopy(id, t.shard)
	}
}

// End implements shards.Table.
func (t *clusterTable) End() {
	t.x.sweepClusters(t.shard, t.gen)
	t.x.mu.Lock()
	defer t.x.mu.Unlock()
	t.x.shards[t.shard].clustersRead = true
	t.x.setGrace()
}

// clusterID returns the record of a cluster, a new one without references when
// there is none.
func (x *Index) clusterID(name string) clusterID {
	id := x.named(name)
	if id == 0 {
		id = clusterID(x.clusters.add())
		x.names.add(x.names.ofString(name), uint32(id))
		x.clusters.at(uint32(id)).name = name
	}
	return id
}

// unref takes back n references.
func (x *Index) unref(id clusterID, n uint32) {
	c := x.clusters.at(uint32(id))
	if c.refs -= n; c.refs == 0 {
		x.names.remove(x.names.ofString(c.name), uint32(id))
		x.clusters.drop(uint32(id))
	}
}

// copyOn returns a cluster's copy on a shard, or nil. The pointer is good until
// the next copy is added or dropped.
func (x *Index) copyOn(id clusterID, s shardID) *clusterCopy {
	if c := x.clusters.at(uint32(id)); c.copy.shard == s {
		return &c.copy
	}
	more := x.extra[id]
	for i := range more {
		if more[i].shard == s {
			return &more[i]
		}
	}
	return nil
}

func (x *Index) addCopy(id clusterID, s shardID) *clusterCopy {
	c := x.clusters.at(uint32(id))
	c.refs++
	x.shards[s].clusters++
	if c.copy.shard == 0 {
		c.copy = clusterCopy{shard: s}
		return &c.copy
	}
	more := append(x.extra[id], clusterCopy{shard: s})
	x.extra[id] = more
	return &more[len(more)-1]
}

func (x *Index) dropCopy(id clusterID, s shardID) {
	cp := x.copyOn(id, s)
	if cp == nil {
		return
	}
	x.types.release(cp.typ)
	x.shards[s].clusters--
	// The last of the further copies takes the place of the one dropped.
	*cp = clusterCopy{}
	if more := x.extra[id]; len(more) > 0 {
		*cp = more[len(more)-1]
		if more = more[:len(more)-1]; len(more) == 0 {
			delete(x.extra, id)
		} else {
			x.extra[id] = more
		}
	}
	x.settle(id)
	x.unref(id, 1)
}

// holderOf computes who holds a cluster: its only copy's shard, or the shard of
// the only copy that is not migrating.
func (x *Index) holderOf(id clusterID) shardID {
	c := x.clusters.at(uint32(id))
	more := x.extra[id]
	if len(more) == 0 {
		return c.copy.shard
	}
	holder := shardID(0)
	if !c.copy.migrating {
		holder = c.copy.shard
	}
	for _, cp := range more {
		switch {
		case cp.migrating:
		case holder != 0:
			return conflict
		default:
			holder = cp.shard
		}
	}
	if holder == 0 {
		return conflict
	}
	return holder
}
