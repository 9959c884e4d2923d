package index

import "slices"

// maxPreviousShards bounds the previous holders that are remembered of one cluster.
const maxPreviousShards = 8

// previousShards is where a cluster that has moved, or is moving, was before.
type previousShards struct {
	last   string   // the shard that held it last
	shards []string // that held it before, oldest first; never last
}

// updateHolder computes who holds a cluster, and remembers who did.
func (idx *Index) updateHolder(id clusterID) {
	c := idx.clusters.at(uint32(id))
	was := c.holder
	c.holder = idx.holderOf(id)
	switch {
	case was == c.holder || was == 0:
	case c.holder == 0:
		delete(idx.previous, c.name) // what remains of it has not been seen to move here
	case was == conflict:
		idx.recordMove(c.name, "", idx.shards[c.holder].name)
	case c.holder == conflict:
		idx.recordMove(c.name, idx.shards[was].name, "")
	default:
		idx.recordMove(c.name, idx.shards[was].name, idx.shards[c.holder].name)
	}
}

// recordMove notes who held a cluster and who holds it now; "" is a conflict.
func (idx *Index) recordMove(cluster, from, to string) {
	f := idx.previous[cluster]
	if f == nil {
		if from == "" {
			return // it began as a conflict
		}
		f = &previousShards{}
		idx.previous[cluster] = f
	}
	if from != "" {
		f.last = from
	}
	if to == "" || to == f.last {
		return
	}
	if f.last != "" && !slices.Contains(f.shards, f.last) {
		f.shards = append(f.shards, f.last)
	}
	if len(f.shards) > maxPreviousShards {
		f.shards = f.shards[1:]
	}
	f.shards = slices.DeleteFunc(f.shards, func(s string) bool { return s == to })
	f.last = to
}

// PreviousShards returns the shards that were seen to hold a logical cluster before the
// one that does now, by name; nil for nearly every cluster. What moved before
// this process began to watch is not known.
func (idx *Index) PreviousShards(cluster string) []string {
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	if f := idx.previous[cluster]; f != nil {
		return slices.Clone(f.shards)
	}
	return nil
}
