package index

import (
	"slices"
	"strconv"
)

// MoveState says how far the move of a logical cluster away from a shard has got.
type MoveState uint8

// States of moves.
const (
	// NotMoving: as far as is known, the cluster is not moving away.
	NotMoving MoveState = iota
	// Moving: the copy on the shard is marked as migrating, or the cluster's move has
	// begun in another way and is not complete. It may still stay.
	Moving
	// Moved: the move is complete: another shard holds the cluster, and its copy
	// there is not marked as migrating.
	Moved
)

// maxVanished bounds the clusters that are remembered because their last copy was
// removed while it was marked as migrating.
const maxVanished = 1024

// OnMove has f called with the name of a logical cluster after each change that may
// have changed its MoveState on some shard. f is called by the goroutine of a watch,
// without a lock, and must not block. Call OnMove once, before the watches run.
func (idx *Index) OnMove(f func(cluster string)) { idx.onMove = f }

// MoveState says how far the move of a logical cluster away from a shard has got, by
// their names. Moves from before this process began to watch are unknown. While no
// cluster moves, and none that has moved is left, it takes no lock.
func (idx *Index) MoveState(cluster, shard string) MoveState {
	if !idx.anyMoves.Load() {
		return NotMoving
	}
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	f := idx.previous[cluster]
	id := idx.clusterByName(cluster)
	if id == 0 || idx.clusters.at(uint32(id)).holder == 0 {
		if f != nil { // it vanished while it was marked
			return Moving
		}
		return NotMoving
	}
	holder := idx.clusters.at(uint32(id)).holder
	switch {
	case holder == conflict:
		return Moving
	case idx.shards[holder].name == shard && idx.copyOn(id, holder).migrating:
		return Moving
	case idx.shards[holder].name == shard || f == nil:
		return NotMoving
	case f.stable == shard:
		return Moving // the new shard's copy is still marked
	}
	return Moved
}

// MovedAt returns a resource version that the shard with the given name had reached
// when a logical cluster's move there was complete. Versions below it are none that the shard can
// have given out since for objects of the cluster, except from a cache that lagged
// behind. It is 0 for a cluster that was not seen to move there. It takes a lock only
// when MoveState does.
func (idx *Index) MovedAt(cluster, shard string) uint64 {
	if !idx.anyMoves.Load() {
		return 0
	}
	idx.mu.RLock()
	defer idx.mu.RUnlock()
	if f := idx.previous[cluster]; f != nil && f.stable == shard {
		return f.stableAt
	}
	return 0
}

// completeMove notes to which shard a cluster has moved, if it has.
func (idx *Index) completeMove(id clusterID) {
	c := idx.clusters.at(uint32(id))
	f := idx.previous[c.name]
	if f == nil || c.holder == 0 || c.holder == conflict || idx.copyOn(id, c.holder).migrating {
		return
	}
	if s := idx.shards[c.holder]; s.name != f.stable {
		f.stable, f.stableAt = s.name, s.revision
	}
}

// vanish remembers a cluster whose last copy was removed while it was marked: the events
// of its new shard may come later. Its earlier shards are forgotten, because it may as well
// be another cluster that appears under the name. stable is where it was.
func (idx *Index) vanish(name, stable string) {
	idx.previous[name] = &previousShards{stable: stable}
	idx.vanished = slices.DeleteFunc(idx.vanished, func(s string) bool { return s == name })
	if idx.vanished = append(idx.vanished, name); len(idx.vanished) <= maxVanished {
		return
	}
	oldest := idx.vanished[0]
	idx.vanished = idx.vanished[1:]
	if id := idx.clusterByName(oldest); id == 0 || idx.clusters.at(uint32(id)).holder == 0 {
		delete(idx.previous, oldest)
	}
}

// countMarks counts a copy that was, or is, marked as migrating.
func (idx *Index) countMarks(was, is bool) {
	switch {
	case is && !was:
		idx.marked++
	case was && !is:
		idx.marked--
	}
}

// moveChanged notes that a cluster's MoveState may have changed.
func (idx *Index) moveChanged(name string) {
	if idx.onMove != nil {
		idx.changedMoves = append(idx.changedMoves, name)
	}
}

// unlockAndNotify releases the lock after changes of clusters, and then reports the moves that have
// changed.
func (idx *Index) unlockAndNotify() {
	if some := idx.marked > 0 || len(idx.previous) > 0 || len(idx.extraCopies) > 0; some != idx.anyMoves.Load() {
		idx.anyMoves.Store(some)
	}
	changed := idx.changedMoves
	idx.changedMoves = nil
	idx.mu.Unlock()
	for _, name := range changed {
		idx.onMove(name)
	}
}

// listedAt notes the resource version of a shard's list. If the shard had reached a higher
// one, its storage was replaced, and what was noted of it is void.
func (idx *Index) listedAt(s shardID, version uint64) {
	shard := idx.shards[s]
	shard.revision = version
	for _, f := range idx.previous {
		if f.stable == shard.name && f.stableAt > version {
			f.stableAt = 0
		}
	}
}

// parseVersion returns a resource version as a number; 0 when it is none.
func parseVersion(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
