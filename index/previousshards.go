package index

import "slices"

// maxPreviousShards bounds the previous holders that are remembered for one cluster.
const maxPreviousShards = 8

// previousShards has the earlier shards of a cluster that has moved or is moving.
type previousShards struct {
	last   string   // the shard that held it last
	shards []string // that held it earlier, oldest first; without last

	// stable is the shard that held it last with a copy that was not marked as
	// migrating. stableAt is a resource version that this shard had reached then; 0:
	// unknown, or it did not move there.
	stable   string
	stableAt uint64
}

// recordMove records the previous and the new holder of a cluster; "" means a
// conflict.
func (idx *Index) recordMove(cluster, from, to string) {
	f := idx.previous[cluster]
	if f == nil {
		if from == "" {
			return // it began as a conflict
		}
		f = &previousShards{stable: from}
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

// PreviousShards returns the names of the shards that were seen to hold a logical
// cluster before its present one; nil for nearly every cluster. Moves from before
// this process began to watch are unknown.
func (idx *Index) PreviousShards(cluster string) []string {
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	if f := idx.previous[cluster]; f != nil {
		return slices.Clone(f.shards)
	}
	return nil
}
