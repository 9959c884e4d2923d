package index

import "strings"

// Lookup finds the target of a path "<cluster>[:<workspace>…]". The cluster may be
// "user:<name>" for the home of that user. Any string is safe. The errors are
// ErrUnknown, ErrNotSynced, ErrUnavailable and ErrConflict, unwrapped. With an error the
// Target is zero, except that ErrConflict for the path's last cluster comes with the
// Target's Cluster.
func (idx *Index) Lookup(path string) (Target, error) {
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	c, rest, more, err := idx.resolveRoot(path)
	if err != nil {
		return Target{}, err
	}
	c, mount, err := idx.walk(c, rest, more)
	if err != nil {
		if c != 0 {
			return Target{Cluster: idx.clusters.at(uint32(c)).name}, err
		}
		return Target{}, err
	}
	if mount != 0 {
		if u := idx.mounts[mount]; u != nil {
			parent := idx.workspaces.at(uint32(mount)).parent
			return Target{Mount: u, MountParent: idx.clusters.at(uint32(parent)).name}, nil
		}
		return Target{}, ErrUnknown
	}
	rec := idx.clusters.at(uint32(c))
	s := idx.shards[rec.holder].shard
	if s == nil {
		return Target{}, idx.missing()
	}
	return Target{Cluster: rec.name, Shard: s, Type: idx.typeOf(c)}, nil
}

// resolveRoot finds the cluster at which a path starts, and returns the rest of the
// path.
func (idx *Index) resolveRoot(path string) (c clusterID, rest string, more bool, err error) {
	name, rest, more := strings.Cut(path, ":")
	if name == "user" && more {
		var buf [2 * maxHomeLen]byte
		name, rest, more = strings.Cut(rest, ":")
		c = idx.clusterByName(string(homeCluster(buf[:0], name)))
	} else {
		c = idx.clusterByName(name)
	}
	if c == 0 {
		return 0, "", false, idx.missing()
	}
	return c, rest, more, nil
}

// walk follows the workspaces in rest from c, if more is set. It ends at a cluster
// that a shard holds, or at a mount. With ErrConflict it returns the cluster that is in
// conflict if it is the last one, else 0.
func (idx *Index) walk(c clusterID, rest string, more bool) (clusterID, workspaceID, error) {
	for {
		holder := idx.clusters.at(uint32(c)).holder
		switch {
		case holder == 0:
			return 0, 0, idx.missing()
		case holder == conflict && more:
			return 0, 0, ErrConflict
		case holder == conflict:
			return c, 0, ErrConflict
		case !more:
			return c, 0, nil
		}
		var name string
		name, rest, more = strings.Cut(rest, ":")
		id := idx.workspaceByKey(workspaceKey{parent: c, shard: holder, name: name})
		if id == 0 {
			return 0, 0, idx.missing()
		}
		w := idx.workspaces.at(uint32(id))
		switch {
		case w.phase == unavailable:
			return 0, 0, ErrUnavailable
		case w.phase == scheduling:
			return 0, 0, idx.missing()
		case w.mount && more:
			return 0, 0, ErrUnknown
		case w.mount:
			return 0, id, nil
		case w.child == 0:
			return 0, 0, idx.missing()
		}
		c = w.child
	}
}

// typeOf decides the type of a cluster that a shard holds; doc.go has the rules.
func (idx *Index) typeOf(id clusterID) Type {
	c := idx.clusters.at(uint32(id))
	if c.name == rootCluster {
		return idx.annotatedType(id)
	}
	var claim *workspace
	var claimID workspaceID
	leftover := false
	for id, next := c.claimants, workspaceID(0); id != 0; id = next {
		w := idx.workspaces.at(uint32(id))
		next = w.next
		holder := idx.clusters.at(uint32(w.parent)).holder
		switch {
		case holder != 0 && holder != conflict && holder != w.shard:
			leftover = true
		case claim == nil:
			claim, claimID = w, id
		case claim.parent != w.parent || claim.typ != w.typ || idx.keyOf(claimID).name != idx.keyOf(id).name:
			return Type{Err: ErrConflict}
		}
	}
	switch {
	case claim != nil:
		return idx.resolveType(claim.typ)
	case leftover || !annotationMayCount(c.name):
		return Type{Err: idx.missing()}
	}
	if idx.missing() == ErrNotSynced { //nolint:errorlint // never wrapped
		return Type{Err: ErrNotSynced}
	}
	return idx.annotatedType(id)
}

const rootCluster = "root"

// annotationMayCount reports whether a cluster of that name may exist without a
// Workspace, so that its annotation decides its type.
func annotationMayCount(name string) bool { return name == rootCluster || homeShaped(name) }

// annotatedType returns the type in the annotation of the holder's LogicalCluster.
func (idx *Index) annotatedType(id clusterID) Type {
	cp := idx.copyOn(id, idx.clusters.at(uint32(id)).holder)
	if cp.owned {
		return Type{Err: idx.missing()}
	}
	return idx.resolveType(cp.typ)
}

// resolveType finds the owner of a type by walking its path.
func (idx *Index) resolveType(id typeID) Type {
	if id == 0 {
		return Type{}
	}
	ref := idx.types.get(id)
	t := Type{Name: ref.name, Path: ref.path}
	first, rest, more := strings.Cut(ref.path, ":")
	c := idx.clusterByName(first)
	if c == 0 {
		t.Err = idx.missing()
		return t
	}
	c, mount, err := idx.walk(c, rest, more)
	switch {
	case err != nil:
		t.Err = err
	case mount != 0:
		t.Err = ErrUnknown
	default:
		t.Cluster = idx.clusters.at(uint32(c)).name
	}
	return t
}
