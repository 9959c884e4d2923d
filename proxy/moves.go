package proxy

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/index"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/otherstores"
	"frontproxy/proxy/requestinfo"
	"frontproxy/proxy/watchframes"
)

// Resource versions of two shards cannot be compared. So when a logical cluster has moved,
// its clients must list again: watches on the old shard end with an ERROR event
// (watchmove.go), and what lists or watches from a version that only the old shard can
// have given out is 410 Expired. Package otherstores knows the resources whose versions are neither
// shard's.

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

const (
	// movePace and moveSpread are how fast the streams of a cluster that has moved are
	// ended: one in 10 ms on average, but all within 5 s.
	movePace   = 10 * time.Millisecond
	moveSpread = 5 * time.Second
	// listedVersionTimeout is how long a shard may take for the list that says whether a
	// resource is in another store.
	listedVersionTimeout = 5 * time.Second
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

// checkResourceVersion refuses to list or watch from a version of the shard from which the
// cluster came.
func (x *exchange) checkResourceVersion(r *http.Request) *metav1.Status {
	moves, d := x.p.streams.moves, &x.dest
	if moves == nil || d.Kind != destination.Shard || d.Target.Shard == nil {
		return nil
	}
	moved := moves.MovedAt(d.Target.Cluster, d.Target.Shard.Name)
	if moved == 0 {
		return nil
	}
	if v := requestinfo.ListedVersion(r.Method, d.APIPath, r.URL.RawQuery); v != 0 && v < moved {
		return x.refuseVersion(r, otherstores.Move{Shard: d.Target.Shard.Name, At: moved})
	}
	return nil
}

// refuseVersion answers a request that lists or watches from a version below m.At. Nil: the
// resource is in another store, and the request goes on.
func (x *exchange) refuseVersion(r *http.Request, m otherstores.Move) *metav1.Status {
	p, cluster := x.p, x.dest.Target.Cluster
	resource, list := requestinfo.Collection(x.dest.APIPath)
	if p.streams.otherStores.Has(cluster, m, resource) {
		return nil
	}
	if p.limit.most > 0 {
		places, status := p.limit.takePlaces(&x.dest)
		defer places.add(-1)
		if status != nil {
			return status
		}
	}
	question := otherstores.Question{Request: r, To: &x.dest, Rewrite: x.rewrite, Timeout: p.streams.listedVersionTimeout, ErrorLog: p.errorLog}
	version, ok := question.ListedVersion(list)
	if !ok || version >= m.At {
		return apistatus.ExpiredByMove()
	}
	p.streams.otherStores.Add(cluster, m, resource)
	p.config.Log.V(2).Info("Found a resource that the shard keeps in another store, with versions below the one at which the workspace had moved there",
		"cluster", cluster, "shard", m.Shard, "resource", resource, "version", version, "movedAt", m.At)
	return nil
}

// mustListAgain says whether a request lists or watches from some version a cluster
// that two shards claim, by what Resolve has returned. It cannot be served now, and once
// the cluster has settled its version may be any other of the new shard. So the client is
// asked to list again now, while it is certain that it must.
func (ss *streamSupervisor) mustListAgain(r *http.Request, d *destination.Destination, err error) bool {
	return err != nil && ss.moves != nil && d.Kind == destination.Shard && d.Target.Cluster != "" && errors.Is(err, index.ErrConflict) &&
		requestinfo.ListedVersion(r.Method, d.APIPath, r.URL.RawQuery) != 0
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
