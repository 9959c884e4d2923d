package index

import (
	"net/url"

	"frontproxy/index/shards"
)

// workspaceID is a record of Index.workspaces; 0 is none.
type workspaceID uint32

// workspaceKey identifies a Workspace object.
type workspaceKey struct {
	parent clusterID
	shard  shardID
	name   string
}

// phase is the meaning of a Workspace's status.phase for a lookup.
type phase uint8

const (
	served phase = iota
	scheduling
	unavailable
)

// workspace is a Workspace object on a shard. It fills one CPU cache line, name
// included, because a lookup spends most of its time waiting for such lines.
type workspace struct {
	parent clusterID
	shard  shardID
	phase  phase
	mount  bool        // child is 0; Index.mounts may have its URL
	child  clusterID   // spec.cluster
	next   workspaceID // in the child's claims
	typ    typeID
	gen    uint32 // of the list or watch that showed it last
	// length is the length of the name in name; longName means that the name is in
	// Index.longNames.
	length uint8
	name   [nameRoom]byte
}

const (
	nameRoom = 39 // the rest of 64 bytes
	longName = nameRoom + 1
)

// setKey gives a new record its key.
func (idx *Index) setKey(id workspaceID, p workspaceKey) {
	w := idx.workspaces.at(uint32(id))
	w.parent, w.shard, w.length = p.parent, p.shard, longName
	if len(p.name) > nameRoom {
		idx.longNames[id] = p.name
		return
	}
	w.length = uint8(copy(w.name[:], p.name)) //nolint:gosec // at most nameRoom
}

// hasKey reports whether a record has the given key.
func (idx *Index) hasKey(id workspaceID, p workspaceKey) bool {
	w := idx.workspaces.at(uint32(id))
	if w.parent != p.parent || w.shard != p.shard {
		return false
	}
	if w.length == longName {
		return idx.longNames[id] == p.name
	}
	return string(w.name[:w.length]) == p.name
}

// keyOf returns a record's key.
func (idx *Index) keyOf(id workspaceID) workspaceKey {
	w := idx.workspaces.at(uint32(id))
	if w.length == longName {
		return workspaceKey{w.parent, w.shard, idx.longNames[id]}
	}
	return workspaceKey{w.parent, w.shard, string(w.name[:w.length])}
}

// workspaceObject has the fields of a Workspace object that the index reads.
type workspaceObject struct {
	Metadata shards.Meta `json:"metadata"`
	Spec     struct {
		Cluster string `json:"cluster"`
		URL     string `json:"URL"`
		Type    struct {
			Name string `json:"name"`
			Path string `json:"path"`
		} `json:"type"`
		Mount *struct{} `json:"mount"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

func (o *workspaceObject) Version() string { return o.Metadata.ResourceVersion }

func (o *workspaceObject) valid() bool {
	return o.Metadata.Name != "" && o.Metadata.Annotations.Cluster != ""
}

func (o *workspaceObject) phase() phase {
	switch o.Status.Phase {
	case "Scheduling":
		return scheduling
	case "Unavailable":
		return unavailable
	}
	return served
}

// mountURL returns nil for a workspace that is not a mount, and for a mount without a
// usable URL.
func (o *workspaceObject) mountURL() *url.URL {
	if o.Spec.Mount == nil || o.Spec.URL == "" {
		return nil
	}
	u, err := url.Parse(o.Spec.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil
	}
	return u
}

// workspaceTable is a shard's table of Workspaces.
type workspaceTable struct{ table }

func (t *workspaceTable) Upsert(obj shards.Object) {
	o, ok := obj.(*workspaceObject)
	if !ok || !o.valid() {
		return
	}
	mount := o.mountURL()
	idx := t.idx
	idx.mu.Lock()
	defer idx.mu.Unlock()
	id := idx.ensureWorkspace(workspaceKey{parent: idx.ensureCluster(o.Metadata.Annotations.Cluster), shard: t.shard, name: o.Metadata.Name})
	w := idx.workspaces.at(uint32(id))
	w.gen, w.phase, w.mount = t.gen, o.phase(), o.Spec.Mount != nil
	var ref typeRef
	var child clusterID
	if !w.mount {
		ref = typeRef{path: o.Spec.Type.Path, name: o.Spec.Type.Name}
		if o.Spec.Cluster != "" {
			child = idx.ensureCluster(o.Spec.Cluster)
		}
	}
	w.typ = idx.types.swap(w.typ, ref)
	idx.setChild(id, child)
	if mount != nil {
		idx.mounts[id] = mount
	} else {
		delete(idx.mounts, id)
	}
}

func (t *workspaceTable) Delete(obj shards.Object) {
	o, ok := obj.(*workspaceObject)
	if !ok || !o.valid() {
		return
	}
	idx := t.idx
	idx.mu.Lock()
	defer idx.mu.Unlock()
	parent := idx.clusterByName(o.Metadata.Annotations.Cluster)
	if parent == 0 {
		return
	}
	if id := idx.workspaceByKey(workspaceKey{parent: parent, shard: t.shard, name: o.Metadata.Name}); id != 0 {
		idx.dropWorkspace(id)
	}
}

func (t *workspaceTable) End(string) {
	t.idx.sweepWorkspaces(t.shard, t.gen)
	t.idx.mu.Lock()
	defer t.idx.mu.Unlock()
	t.idx.shards[t.shard].workspacesRead = true
	t.idx.setGrace()
}

// ensureWorkspace returns the record of a key, or a new one.
func (idx *Index) ensureWorkspace(p workspaceKey) workspaceID {
	id := idx.workspaceByKey(p)
	if id == 0 {
		id = workspaceID(idx.workspaces.add())
		idx.workspaceKeys.add(idx.workspaceKeys.hashKey(p), uint32(id))
		idx.setKey(id, p)
		idx.clusters.at(uint32(p.parent)).refs++
		idx.shards[p.shard].workspaces++
	}
	return id
}

// setChild moves the workspace's claim to another cluster; 0 removes the claim.
func (idx *Index) setChild(id workspaceID, child clusterID) {
	w := idx.workspaces.at(uint32(id))
	if w.child == child {
		return
	}
	if child != 0 {
		idx.clusters.at(uint32(child)).refs++
	}
	if old := w.child; old != 0 {
		at := &idx.clusters.at(uint32(old)).claimants
		for *at != id {
			at = &idx.workspaces.at(uint32(*at)).next
		}
		*at = w.next
		idx.unref(old)
	}
	w.child, w.next = child, 0
	if child != 0 {
		c := idx.clusters.at(uint32(child))
		w.next, c.claimants = c.claimants, id
	}
}

func (idx *Index) dropWorkspace(id workspaceID) {
	idx.setChild(id, 0)
	p := idx.keyOf(id)
	idx.types.release(idx.workspaces.at(uint32(id)).typ)
	delete(idx.mounts, id)
	delete(idx.longNames, id)
	idx.workspaceKeys.remove(idx.workspaceKeys.hashKey(p), uint32(id))
	idx.shards[p.shard].workspaces--
	idx.workspaces.drop(uint32(id))
	idx.unref(p.parent)
}
