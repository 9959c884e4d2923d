package index

import (
	"net/url"

	"frontproxy/index/shards"
)

// workspaceID is a record of Index.workspaces; 0 is none.
type workspaceID uint32

// place is where a Workspace object is.
type place struct {
	parent clusterID
	shard  shardID
	name   string
}

// phase is what a Workspace's status.phase means to a lookup.
type phase uint8

const (
	served phase = iota
	scheduling
	unavailable
)

// workspace is a Workspace object on a shard. It fills a line of the processor's
// cache, name included: of a lookup's time most is waiting for such lines.
type workspace struct {
	parent clusterID
	shard  shardID
	phase  phase
	mount  bool        // child is 0; Index.mounts may have its URL
	child  clusterID   // spec.cluster
	next   workspaceID // in the child's claims
	typ    typeID
	gen    uint32 // of the list or watch that showed it last
	// length is of what name holds; longName: Index.longNames has it.
	length uint8
	name   [nameRoom]byte
}

const (
	nameRoom = 39 // what is left of 64 bytes
	longName = nameRoom + 1
)

// setPlace puts a new record at a place.
func (x *Index) setPlace(id workspaceID, p place) {
	w := x.workspaces.at(uint32(id))
	w.parent, w.shard, w.length = p.parent, p.shard, longName
	if len(p.name) > nameRoom {
		x.longNames[id] = p.name
		return
	}
	w.length = uint8(copy(w.name[:], p.name)) //nolint:gosec // at most nameRoom
}

// isAt says whether a record is at a place.
func (x *Index) isAt(id workspaceID, p place) bool {
	w := x.workspaces.at(uint32(id))
	if w.parent != p.parent || w.shard != p.shard {
		return false
	}
	if w.length == longName {
		return x.longNames[id] == p.name
	}
	return string(w.name[:w.length]) == p.name
}

// placeOf returns where a record is.
func (x *Index) placeOf(id workspaceID) place {
	w := x.workspaces.at(uint32(id))
	if w.length == longName {
		return place{w.parent, w.shard, x.longNames[id]}
	}
	return place{w.parent, w.shard, string(w.name[:w.length])}
}

// workspaceObject is what is read of a Workspace object.
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

// Version implements shards.Object.
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

// mountURL returns nil for what is no mount, or none that could be reached.
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
type workspaceTable struct {
	x     *Index
	shard shardID
	gen   uint32
}

// Begin implements shards.Table.
func (t *workspaceTable) Begin() { t.gen = nextGen(t.gen) }

// Upsert implements shards.Table.
func (t *workspaceTable) Upsert(obj shards.Object) {
	o, ok := obj.(*workspaceObject)
	if !ok || !o.valid() {
		return
	}
	mount := o.mountURL()
	x := t.x
	x.mu.Lock()
	defer x.mu.Unlock()
	id := x.workspaceAt(place{parent: x.clusterID(o.Metadata.Annotations.Cluster), shard: t.shard, name: o.Metadata.Name})
	w := x.workspaces.at(uint32(id))
	w.gen, w.phase, w.mount = t.gen, o.phase(), o.Spec.Mount != nil
	var ref typeRef
	var child clusterID
	if !w.mount {
		ref = typeRef{path: o.Spec.Type.Path, name: o.Spec.Type.Name}
		if o.Spec.Cluster != "" {
			child = x.clusterID(o.Spec.Cluster)
		}
	}
	w.typ = x.types.swap(w.typ, ref)
	x.setChild(id, child)
	if mount != nil {
		x.mounts[id] = mount
	} else {
		delete(x.mounts, id)
	}
}

// Delete implements shards.Table.
func (t *workspaceTable) Delete(obj shards.Object) {
	o, ok := obj.(*workspaceObject)
	if !ok || !o.valid() {
		return
	}
	x := t.x
	x.mu.Lock()
	defer x.mu.Unlock()
	parent := x.named(o.Metadata.Annotations.Cluster)
	if parent == 0 {
		return
	}
	if id := x.placed(place{parent: parent, shard: t.shard, name: o.Metadata.Name}); id != 0 {
		x.dropWorkspace(id)
	}
}

// End implements shards.Table.
func (t *workspaceTable) End() {
	t.x.sweepWorkspaces(t.shard, t.gen)
	t.x.mu.Lock()
	defer t.x.mu.Unlock()
	t.x.shards[t.shard].workspacesRead = true
	t.x.setGrace()
}

// workspaceAt returns the record at a place, a new one when there is none.
func (x *Index) workspaceAt(p place) workspaceID {
	id := x.placed(p)
	if id == 0 {
		id = workspaceID(x.workspaces.add())
		x.places.add(x.places.ofPlace(p), uint32(id))
		x.setPlace(id, p)
		x.clusters.at(uint32(p.parent)).refs++
		x.shards[p.shard].workspaces++
	}
	return id
}

// setChild moves the workspace's claim to another cluster; 0: to none.
func (x *Index) setChild(id workspaceID, child clusterID) {
	w := x.workspaces.at(uint32(id))
	if w.child == child {
		return
	}
	if child != 0 {
		x.clusters.at(uint32(child)).refs++
	}
	if old := w.child; old != 0 {
		at := &x.clusters.at(uint32(old)).claims
		for *at != id {
			at = &x.workspaces.at(uint32(*at)).next
		}
		*at = w.next
		x.unref(old, 1)
	}
	w.child, w.next = child, 0
	if child != 0 {
		c := x.clusters.at(uint32(child))
		w.next, c.claims = c.claims, id
	}
}

func (x *Index) dropWorkspace(id workspaceID) {
	x.setChild(id, 0)
	p := x.placeOf(id)
	x.types.release(x.workspaces.at(uint32(id)).typ)
	delete(x.mounts, id)
	delete(x.longNames, id)
	x.places.remove(x.places.ofPlace(p), uint32(id))
	x.shards[p.shard].workspaces--
	x.workspaces.drop(uint32(id))
	x.unref(p.parent, 1)
}
