package index

import (
	"strings"

	"frontproxy/index/shards"
)

// Lookup finds what a path names: "<cluster>[:<workspace>…]", where the cluster
// may be "user:<name>" for that user's home. Any string is safe. The errors are
// ErrUnknown, ErrNotSynced, ErrUnavailable and ErrConflict, unwrapped.
func (x *Index) Lookup(path string) (Target, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	c, rest, more, err := x.first(path)
	if err != nil {
		return Target{}, err
	}
	c, mount, err := x.walk(c, rest, more)
	if err != nil {
		return Target{}, err
	}
	if mount != 0 {
		if u := x.mounts[mount]; u != nil {
			return Target{Mount: u}, nil
		}
		return Target{}, ErrUnknown
	}
	rec := x.clusters.at(uint32(c))
	s := x.shards[rec.holder].shard
	if s == nil {
		return Target{}, x.missing()
	}
	return Target{Cluster: rec.name, Shard: s, Type: x.typeOf(c)}, nil
}

// Holder returns the shard that holds a logical cluster, by its name. The errors
// are those of Lookup.
func (x *Index) Holder(name string) (*shards.Shard, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	id := x.named(name)
	if id == 0 {
		return nil, x.missing()
	}
	if _, _, err := x.walk(id, "", false); err != nil {
		return nil, err
	}
	if s := x.shards[x.clusters.at(uint32(id)).holder].shard; s != nil {
		return s, nil
	}
	return nil, x.missing()
}

// first finds the cluster a path starts at, and what follows it.
func (x *Index) first(path string) (c clusterID, rest string, more bool, err error) {
	name, rest, more := strings.Cut(path, ":")
	if name == "user" && more {
		var buf [2 * maxHomeLen]byte
		name, rest, more = strings.Cut(rest, ":")
		c = x.named(string(homeCluster(buf[:0], name)))
	} else {
		c = x.named(name)
	}
	if c == 0 {
		return 0, "", false, x.missing()
	}
	return c, rest, more, nil
}

// walk follows the workspaces that rest names, if there are more, from c. It
// ends at a cluster that a shard holds, or at a mount.
func (x *Index) walk(c clusterID, rest string, more bool) (clusterID, workspaceID, error) {
	for {
		holder := x.clusters.at(uint32(c)).holder
		switch {
		case holder == 0:
			return 0, 0, x.missing()
		case holder == conflict:
			return 0, 0, ErrConflict
		case !more:
			return c, 0, nil
		}
		var name string
		name, rest, more = strings.Cut(rest, ":")
		id := x.placed(place{parent: c, shard: holder, name: name})
		if id == 0 {
			return 0, 0, x.missing()
		}
		w := x.workspaces.at(uint32(id))
		switch {
		case w.phase == unavailable:
			return 0, 0, ErrUnavailable
		case w.phase == scheduling:
			return 0, 0, x.missing()
		case w.mount && more:
			return 0, 0, ErrUnknown
		case w.mount:
			return 0, id, nil
		case w.child == 0:
			return 0, 0, x.missing()
		}
		c = w.child
	}
}

// typeOf decides a held cluster's type; doc.go has the rules.
func (x *Index) typeOf(id clusterID) Type {
	c := x.clusters.at(uint32(id))
	if c.name == rootCluster {
		return x.annotatedType(id)
	}
	var claim *workspace
	var claimID workspaceID
	leftover := false
	for id, next := c.claims, workspaceID(0); id != 0; id = next {
		w := x.workspaces.at(uint32(id))
		next = w.next
		holder := x.clusters.at(uint32(w.parent)).holder
		switch {
		case holder != 0 && holder != conflict && holder != w.shard:
			leftover = true
		case claim == nil:
			claim, claimID = w, id
		case claim.parent != w.parent || claim.typ != w.typ || x.placeOf(claimID).name != x.placeOf(id).name:
			return Type{Err: ErrConflict}
		}
	}
	switch {
	case claim != nil:
		return x.resolveType(claim.typ)
	case leftover || !annotationMayCount(c.name):
		return Type{Err: x.missing()}
	}
	if x.missing() == ErrNotSynced { //nolint:errorlint // never wrapped
		return Type{Err: ErrNotSynced}
	}
	return x.annotatedType(id)
}

const rootCluster = "root"

// annotationMayCount says that a cluster of that name can be without a
// Workspace.
func annotationMayCount(name string) bool { return name == rootCluster || homeShaped(name) }

// annotatedType is the type that the holder's LogicalCluster names.
func (x *Index) annotatedType(id clusterID) Type {
	cp := x.copyOn(id, x.clusters.at(uint32(id)).holder)
	if cp.owned {
		return Type{Err: x.missing()}
	}
	return x.resolveType(cp.typ)
}

// resolveType finds the owner of a type by walking its path.
func (x *Index) resolveType(id typeID) Type {
	if id == 0 {
		return Type{}
	}
	ref := x.types.get(id)
	t := Type{Name: ref.name, Path: ref.path}
	first, rest, more := strings.Cut(ref.path, ":")
	c := x.named(first)
	if c == 0 {
		t.Err = x.missing()
		return t
	}
	c, mount, err := x.walk(c, rest, more)
	switch {
	case err != nil:
		t.Err = err
	case mount != 0:
		t.Err = ErrUnknown
	default:
		t.Cluster = x.clusters.at(uint32(c)).name
	}
	return t
}
