package index

import "frontproxy/index/shards"

// Holder returns the shard that holds a logical cluster, by its name. The errors
// are those of Lookup.
func (idx *Index) Holder(name string) (*shards.Shard, error) {
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	id := idx.clusterByName(name)
	if id == 0 {
		return nil, idx.missing()
	}
	if _, _, err := idx.walk(id, "", false); err != nil {
		return nil, err
	}
	if s := idx.shards[idx.clusters.at(uint32(id)).holder].shard; s != nil {
		return s, nil
	}
	return nil, idx.missing()
}

// updateHolder computes which shard holds a cluster, and remembers the previous one.
func (idx *Index) updateHolder(id clusterID) {
	c := idx.clusters.at(uint32(id))
	was := c.holder
	c.holder = idx.holderOf(id)
	switch {
	case was == c.holder || was == 0:
	case c.holder == 0:
		delete(idx.previous, c.name) // the cluster is gone; a new one of that name has no earlier shards
	case was == conflict:
		idx.recordMove(c.name, "", idx.shards[c.holder].name)
	case c.holder == conflict:
		idx.recordMove(c.name, idx.shards[was].name, "")
	default:
		idx.recordMove(c.name, idx.shards[was].name, idx.shards[c.holder].name)
	}
	idx.completeMove(id)
}

// holderOf computes which shard holds a cluster: the one with its only copy, or with the
// only copy that is not migrating.
func (idx *Index) holderOf(id clusterID) shardID {
	c := idx.clusters.at(uint32(id))
	more := idx.extraCopies[id]
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
