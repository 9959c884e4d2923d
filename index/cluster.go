package index

import "frontproxy/index/shards"

// clusterID is a record of Index.clusters; 0 is none.
type clusterID uint32

// cluster is a logical cluster that some object or annotation names.
type cluster struct {
	name      string
	copy      clusterCopy // the first; of shard 0: none
	holder    shardID     // 0: no shard shows it
	claimants workspaceID // the first that names it in spec.cluster
	refs      uint32
}

// clusterCopy is a LogicalCluster object on a shard.
type clusterCopy struct {
	shard     shardID
	migrating bool
	owned     bool   // it has a spec.owner
	typ       typeID // of the annotation; kept only where it may count
	gen       uint32 // of the list or watch that showed it last
}

// logicalCluster has the fields of a LogicalCluster object that the index reads.
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

func (o *logicalCluster) Version() string { return o.Metadata.ResourceVersion }

// valid reports whether the object is the one that represents its logical cluster.
func (o *logicalCluster) valid() bool {
	return o.Metadata.Name == "cluster" && o.Metadata.Annotations.Cluster != ""
}

// clusterTable is a shard's table of LogicalClusters.
type clusterTable struct{ table }

func (t *clusterTable) Upsert(obj shards.Object) {
	o, ok := obj.(*logicalCluster)
	if !ok || !o.valid() {
		return
	}
	idx, version := t.idx, parseVersion(o.Version())
	idx.mu.Lock()
	defer idx.unlockAndNotify()
	idx.shards[t.shard].reached(version)
	id := idx.ensureCluster(o.Metadata.Annotations.Cluster)
	cp := idx.copyOn(id, t.shard)
	added := cp == nil
	if added {
		cp = idx.addCopy(id, t.shard)
	}
	cp.gen = t.gen
	was := cp.migrating
	cp.migrating = o.Metadata.Annotations.Migrating != nil
	idx.countMarks(was, cp.migrating)
	changed := added || was != cp.migrating
	marked := was || cp.migrating
	cp.owned = o.Spec.Owner != nil
	var ref typeRef
	if annotationMayCount(o.Metadata.Annotations.Cluster) {
		ref = parseTypeRef(o.Metadata.Annotations.Type)
	}
	cp.typ = idx.types.swap(cp.typ, ref)
	idx.updateHolder(id)
	if changed && (marked || idx.previous[o.Metadata.Annotations.Cluster] != nil) {
		idx.moveChanged(o.Metadata.Annotations.Cluster)
	}
}

func (t *clusterTable) Delete(obj shards.Object) {
	o, ok := obj.(*logicalCluster)
	if !ok || !o.valid() {
		return
	}
	version := parseVersion(o.Version())
	t.idx.mu.Lock()
	defer t.idx.unlockAndNotify()
	t.idx.shards[t.shard].reached(version)
	if id := t.idx.clusterByName(o.Metadata.Annotations.Cluster); id != 0 {
		t.idx.dropCopy(id, t.shard)
	}
}

func (t *clusterTable) End(version string) {
	t.idx.sweepClusters(t.shard, t.gen)
	t.idx.mu.Lock()
	defer t.idx.mu.Unlock()
	t.idx.listedAt(t.shard, parseVersion(version))
	t.idx.shards[t.shard].clustersRead = true
	t.idx.setGrace()
}

// ensureCluster returns the record of a cluster, or a new one without references.
func (idx *Index) ensureCluster(name string) clusterID {
	id := idx.clusterByName(name)
	if id == 0 {
		id = clusterID(idx.clusters.add())
		idx.clusterNames.add(idx.clusterNames.hashString(name), uint32(id))
		idx.clusters.at(uint32(id)).name = name
	}
	return id
}

// unref removes a reference.
func (idx *Index) unref(id clusterID) {
	c := idx.clusters.at(uint32(id))
	if c.refs--; c.refs == 0 {
		idx.clusterNames.remove(idx.clusterNames.hashString(c.name), uint32(id))
		idx.clusters.drop(uint32(id))
	}
}

// copyOn returns a cluster's copy on a shard, or nil. The pointer is valid until a
// copy is added or dropped.
func (idx *Index) copyOn(id clusterID, s shardID) *clusterCopy {
	if c := idx.clusters.at(uint32(id)); c.copy.shard == s {
		return &c.copy
	}
	more := idx.extraCopies[id]
	for i := range more {
		if more[i].shard == s {
			return &more[i]
		}
	}
	return nil
}

func (idx *Index) addCopy(id clusterID, s shardID) *clusterCopy {
	c := idx.clusters.at(uint32(id))
	c.refs++
	idx.shards[s].clusters++
	if c.copy.shard == 0 {
		c.copy = clusterCopy{shard: s}
		return &c.copy
	}
	more := append(idx.extraCopies[id], clusterCopy{shard: s})
	idx.extraCopies[id] = more
	return &more[len(more)-1]
}

func (idx *Index) dropCopy(id clusterID, s shardID) {
	cp := idx.copyOn(id, s)
	if cp == nil {
		return
	}
	name, stable, marked := idx.clusters.at(uint32(id)).name, idx.shards[s].name, cp.migrating
	if f := idx.previous[name]; f != nil {
		stable = f.stable
	}
	idx.types.release(cp.typ)
	idx.countMarks(marked, false)
	idx.shards[s].clusters--
	// The last of the extra copies replaces the dropped one.
	*cp = clusterCopy{}
	if more := idx.extraCopies[id]; len(more) > 0 {
		*cp = more[len(more)-1]
		if more = more[:len(more)-1]; len(more) == 0 {
			delete(idx.extraCopies, id)
		} else {
			idx.extraCopies[id] = more
		}
	}
	known := idx.previous[name] != nil
	idx.updateHolder(id)
	if marked && idx.clusters.at(uint32(id)).holder == 0 {
		idx.vanish(name, stable)
	}
	if known || marked || idx.previous[name] != nil {
		idx.moveChanged(name)
	}
	idx.unref(id)
}
