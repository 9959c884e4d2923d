package index

import "frontproxy/index/shards"

// ShardNamed returns a listed shard. ErrNotSynced: it may be listed, but root has
// not answered, or it has no usable address yet; ErrUnknown: it is not.
func (x *Index) ShardNamed(name string) (*shards.Shard, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	id, ok := x.shardIDs[name]
	switch {
	case ok && x.shards[id].shard != nil:
		return x.shards[id].shard, nil
	case ok || !x.listed:
		return nil, ErrNotSynced
	}
	return nil, ErrUnknown
}
