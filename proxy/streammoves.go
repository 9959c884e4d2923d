package proxy

import (
	"math/rand/v2"
	"time"

	"frontproxy/index"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/watchframes"
)

// Resource versions of two shards cannot be compared. So when a logical cluster has moved, the
// streams to its old shard end: watches with an ERROR event (watchexpire.go), which makes their
// clients list again. What clients then list or watch from is in resourceversion.go.

// Moves knows which logical clusters move between shards; *index.Index does.
type Moves interface {
	// OnMove has f called whenever what MoveState says of a cluster may have changed.
	OnMove(f func(cluster string))
	// MoveState says how far the move of a cluster away from a shard has got.
	MoveState(cluster, shard string) index.MoveState
	// MovedAt is a resource version that a shard had reached when a cluster had moved to
	// it; 0 if that was not seen.
	MovedAt(cluster, shard string) uint64
}

// movePace and moveSpread are how fast the streams of a cluster that has moved are
// ended: one in 10 ms on average, but all within 5 s.
const (
	movePace   = 10 * time.Millisecond
	moveSpread = 5 * time.Second
)

// subscribeToMoves has moveChanged called about moves, if there may be any.
func (ss *streamSupervisor) subscribeToMoves() (err error) {
	if ss.moves == nil {
		return nil
	}
	if ss.moveErrors, err = watchframes.NewErrors(*apistatus.ExpiredByMove()); err == nil {
		ss.moves.OnMove(ss.moveChanged)
	}
	return err
}

// moveChanged ends the streams of a cluster that has moved away from their shards, at
// random moments, so that not all clients list again at once. Watches that wait for
// the move to end look again.
func (ss *streamSupervisor) moveChanged(cluster string) {
	var moved []*stream
	for _, st := range ss.set.ofCluster(cluster) {
		if ss.moves.MoveState(cluster, st.shard) != index.Moved {
			st.watch.lookAgain()
		} else if ss.set.claim(st) {
			moved = append(moved, st)
		}
	}
	window := min(time.Duration(len(moved))*movePace, moveSpread)
	for _, st := range moved {
		time.AfterFunc(rand.N(max(window, 1)), func() { ss.endMoved(st) }) //nolint:gosec // jitter
	}
}

func (ss *streamSupervisor) endMoved(st *stream) {
	if !ss.set.isActive(st) {
		return // it has ended in another way
	}
	ss.moved.Add(1)
	ss.log.V(2).Info("Ended a "+st.kind.String(), "because", "its logical cluster has moved to another shard", "cluster", st.cluster, "from", st.shard)
	if st.watch != nil {
		st.watch.expire()
	} else {
		st.end()
	}
}

// ofCluster returns the streams that end when the cluster moves.
func (s *streamSet) ofCluster(cluster string) []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clusters[cluster].UnsortedList()
}

// claim reports, once for each stream, that it is the caller's to end because of a move.
func (s *streamSet) claim(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !st.moved
	st.moved = true
	return first
}

func (s *streamSet) isActive(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.active[st]
	return ok
}
