package proxy

import (
	"container/list"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/otherstores"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/watchframes"
)

// streamSet has the streams that are under way: watches, upgraded connections, and other
// answers of unknown length once they have lasted for a while. A watch ends when
//
//   - the shard ends it, or its connection breaks (watch.go);
//   - its client leaves, or does not read for ProgressTimeout (connections.go,
//     progress.go);
//   - its logical cluster has moved to another shard (streammoves.go, watchexpire.go);
//   - what admitted it is gone: a recheck refuses it, or the workspace, the mount or the
//     shard that it goes to is gone (recheck.go);
//   - the proxy shuts down (drain).
type streamSet struct {
	mu     sync.Mutex // guards the rest
	active map[*stream]struct{}
	open   [streamKinds]int
	idle   chan struct{} // closed when no watch or upgrade is open; nil: nobody waits for that

	// clusters has, for each cluster, the streams that end when it moves.
	clusters map[string]sets.Set[*stream]

	rechecks recheckQueue
}

// streamSupervisor has the streams under way, and ends them before their servers and clients
// do: by rechecks (recheck.go) and moves (streammoves.go).
type streamSupervisor struct {
	set     *streamSet
	log     klog.Logger
	buffers *copyBuffers // of watches

	router        *routing.Router
	recheck       func(context.Context, authn.Request, *authn.Decision) *authn.Decision // Config.Recheck
	recheckPeriod time.Duration
	revoked       atomic.Uint64 // how many streams rechecks have ended

	moves       Moves              // nil: nothing moves
	moveErrors  watchframes.Errors // that tell of a move
	moved       atomic.Uint64      // how many streams moves have ended
	otherStores otherstores.Stores
	// listedVersionTimeout is how long a shard may take to list again; tests shorten it.
	listedVersionTimeout time.Duration
}

type stream struct {
	kind streamKind
	end  func()
	conn io.Closer // the client's connection, when the stream has it; else nil
	// admittedBy is what admitted the stream; nil: the stream is not rechecked. next is
	// when the next recheck is due. revoked: a recheck has ended the stream, which may take
	// a while.
	admittedBy *streamAuthn
	next       time.Time
	revoked    atomic.Bool

	// cluster and shard are where a stream goes that ends when the cluster moves away from
	// the shard; shard is "" for any other. moved says that it is being ended.
	cluster, shard string
	watch          *watch // nil: the stream is not a watch
	moved          bool

	// What follows is the recheckQueue's. flow is nil when the stream neither waits for
	// a recheck nor is being rechecked; queued is its place in the flow's queue while it
	// waits, else nil; slow says that its last recheck took long.
	flow   *recheckFlow
	queued *list.Element
	slow   bool
}

// streamKind is what a stream is.
type streamKind int

const (
	watchStream streamKind = iota
	upgradeStream
	// answerStream is a response of unknown length that is not a watch and has lasted
	// for a while. It may have an end, for which a drain waits.
	answerStream
	streamKinds // how many there are
)

// String is a metric's label.
func (k streamKind) String() string { return [streamKinds]string{"watch", "upgrade", "answer"}[k] }

func newStreamSet() *streamSet {
	return &streamSet{active: map[*stream]struct{}{}, clusters: map[string]sets.Set[*stream]{}}
}

// begin registers st, whose kind and end the caller has set. It is the stream of the request r,
// which d admitted, to the server at to.
func (ss *streamSupervisor) begin(st *stream, r *http.Request, to *destination.Destination, d *authn.Decision) *stream {
	st.admittedBy = ss.newStreamAuthn(r, to, d)
	if t := &to.Target; ss.moves != nil && to.Kind == destination.Shard && t.Shard != nil {
		st.cluster, st.shard = t.Cluster, t.Shard.Name
	}
	ss.set.add(st)
	if st.shard != "" && ss.moves.MoveState(st.cluster, st.shard) == index.Moved { // since the lookup
		ss.moveChanged(st.cluster)
	}
	return st
}

// add registers a stream until remove.
func (s *streamSet) add(st *stream) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active[st] = struct{}{}
	s.open[st.kind]++
	if st.shard != "" {
		if s.clusters[st.cluster] == nil {
			s.clusters[st.cluster] = sets.Set[*stream]{}
		}
		s.clusters[st.cluster].Insert(st)
	}
	return st
}

// remove forgets a stream that is over; it may be called again.
func (s *streamSet) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.active[st]; !ok {
		return
	}
	delete(s.active, st)
	s.rechecks.remove(st)
	if st.shard != "" {
		if s.clusters[st.cluster].Delete(st); len(s.clusters[st.cluster]) == 0 {
			delete(s.clusters, st.cluster)
		}
	}
	s.open[st.kind]--
	if s.drainable() == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// counts says how many streams there are of each kind.
func (s *streamSet) counts() [streamKinds]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// drainable is the number of watches and upgraded connections, which a drain has to end. The
// caller holds mu.
func (s *streamSet) drainable() int { return s.open[watchStream] + s.open[upgradeStream] }

// setConn notes the client's connection of a stream that net/http no longer serves.
func (s *streamSet) setConn(st *stream, conn io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.conn = conn
}

// cut closes the client connections of hijacked watches.
func (s *streamSet) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.active {
		if st.conn != nil {
			go st.conn.Close() //nolint:errcheck // it may wait for a client that does not read
		}
	}
}

// drain ends all streams at random moments within window, so that their
// clients don't come back all at once, and returns when they are over or when
// giveUp is closed. Streams that begin meanwhile are not ended.
func (s *streamSet) drain(window time.Duration, giveUp <-chan struct{}) {
	s.mu.Lock()
	var timers []*time.Timer
	for st := range s.active {
		if st.kind == answerStream {
			continue
		}
		timers = append(timers, time.AfterFunc(rand.N(max(window, 1)), st.end)) //nolint:gosec // jitter
	}
	idle := make(chan struct{})
	if s.drainable() == 0 {
		close(idle)
	} else {
		s.idle = idle
	}
	s.mu.Unlock()
	select {
	case <-idle:
	case <-giveUp:
	}
	for _, t := range timers {
		t.Stop()
	}
}
