package index

// never is a generation that no record has.
const never = 0

func nextGen(g uint32) uint32 {
	if g++; g == never {
		g++
	}
	return g
}

// A sweep examines and removes at most this many records before it releases the lock.
const (
	sweepLook   = 2048
	sweepRemove = 32
)

// sweep calls remove for each ID in 1…last(). remove reports whether it removed the
// record. sweep releases the lock now and then; it may miss records that are added in
// the meantime, because they are new.
func (idx *Index) sweep(last func() uint32, remove func(id uint32) bool) {
	idx.mu.RLock()
	end := last()
	idx.mu.RUnlock()
	for id := uint32(1); id <= end; {
		idx.mu.Lock()
		removed := 0
		for stop := id + sweepLook; id <= end && id < stop && removed < sweepRemove; id++ {
			if remove(id) {
				removed++
			}
		}
		idx.unlockAndNotify()
	}
}

// sweepWorkspaces removes the workspaces that were not in the shard's list of this
// generation.
func (idx *Index) sweepWorkspaces(s shardID, gen uint32) {
	idx.sweep(func() uint32 { return idx.workspaces.last }, func(id uint32) bool {
		w := idx.workspaces.at(id)
		if w.shard != s || w.gen == gen {
			return false
		}
		idx.dropWorkspace(workspaceID(id))
		return true
	})
}

// sweepClusters is the same for LogicalClusters.
func (idx *Index) sweepClusters(s shardID, gen uint32) {
	idx.sweep(func() uint32 { return idx.clusters.last }, func(id uint32) bool {
		if idx.clusters.at(id).refs == 0 {
			return false // a free record
		}
		cp := idx.copyOn(clusterID(id), s)
		if cp == nil || cp.gen == gen {
			return false
		}
		idx.dropCopy(clusterID(id), s)
		return true
	})
}
