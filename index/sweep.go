package index

// never is a generation that no record has.
const never = 0

func nextGen(g uint32) uint32 {
	if g++; g == never {
		g++
	}
	return g
}

// A sweep holds the lock for at most so many records looked at and removed.
const (
	sweepLook   = 2048
	sweepRemove = 32
)

// sweep calls remove for the ids of 1…last() that it says are to go, letting
// the lock go now and then. Records added meanwhile need no look: they are new.
func (x *Index) sweep(last func() uint32, remove func(id uint32) bool) {
	x.mu.RLock()
	end := last()
	x.mu.RUnlock()
	for id := uint32(1); id <= end; {
		x.mu.Lock()
		removed := 0
		for stop := id + sweepLook; id <= end && id < stop && removed < sweepRemove; id++ {
			if remove(id) {
				removed++
			}
		}
		x.mu.Unlock()
	}
}

// sweepWorkspaces removes what the shard's list of this generation left out.
func (x *Index) sweepWorkspaces(s shardID, gen uint32) {
	x.sweep(func() uint32 { return x.workspaces.last }, func(id uint32) bool {
		w := x.workspaces.at(id)
		if w.shard != s || w.gen == gen {
			return false
		}
		x.dropWorkspace(workspaceID(id))
		return true
	})
}

// sweepClusters is the same for LogicalClusters.
func (x *Index) sweepClusters(s shardID, gen uint32) {
	x.sweep(func() uint32 { return x.clusters.last }, func(id uint32) bool {
		if x.clusters.at(id).refs == 0 {
			return false // a free record
		}
		cp := x.copyOn(clusterID(id), s)
		if cp == nil || cp.gen == gen {
			return false
		}
		x.dropCopy(clusterID(id), s)
		return true
	})
}
