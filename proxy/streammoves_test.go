package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"frontproxy/index"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/watchframes"
)

// fakeMoves are moves that a test decides about; keys are "cluster shard".
type fakeMoves struct {
	mu      sync.Mutex // guards the rest
	on      func(string)
	states  map[string]index.MoveState
	settled map[string]uint64
}

func newFakeMoves() *fakeMoves {
	return &fakeMoves{states: map[string]index.MoveState{}, settled: map[string]uint64{}}
}

func (m *fakeMoves) OnMove(f func(string)) { m.on = f }

func (m *fakeMoves) MoveState(cluster, shard string) index.MoveState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[cluster+" "+shard]
}

func (m *fakeMoves) MovedAt(cluster, shard string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settled[cluster+" "+shard]
}

// set changes a state and tells of it.
func (m *fakeMoves) set(cluster, shard string, s index.MoveState) {
	m.mu.Lock()
	m.states[cluster+" "+shard] = s
	m.mu.Unlock()
	m.on(cluster)
}

const (
	jsonMedia  = "application/json"
	protoMedia = "application/vnd.kubernetes.protobuf;stream=watch"
)

// frame is an event as a shard sends it.
func frame(media, event string) string {
	if media == protoMedia {
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(event)))) + event
	}
	return event + "\n"
}

// speaker is a shard whose watches say what a test sends on the channel of their path's
// last segment, and end when it is closed.
type speaker struct {
	mu   sync.Mutex // guards the rest
	says map[string]chan string
}

func (s *speaker) channel(name string) chan string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.says == nil {
		s.says = map[string]chan string{}
	}
	if s.says[name] == nil {
		s.says[name] = make(chan string)
	}
	return s.says[name]
}

func (s *speaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", r.URL.Query().Get("media"))
	if encoding := r.URL.Query().Get("encoding"); encoding != "" {
		w.Header().Set("Content-Encoding", encoding)
	}
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	says := s.channel(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	for {
		select {
		case text, ok := <-says:
			if !ok {
				return
			}
			_, _ = io.WriteString(w, text)
			_ = flush.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// movingWorld has shard "old", which says what s is told.
func movingWorld(t *testing.T, http2 bool) (w *world, s *speaker, moves *fakeMoves) {
	w, s, moves = newWorld(t), &speaker{}, newFakeMoves()
	old := w.shard(t, "old", http2, s.ServeHTTP)
	w.index["other"] = index.Target{Cluster: "other", Shard: old.Shard}
	w.config.Moves = moves
	return w, s, moves
}

// open asks for a watch.
func open(t *testing.T, f *front, client2 bool, path string, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, f.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	res, err := f.client(t, client2).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %d", path, res.StatusCode)
	}
	return res
}

func read(t *testing.T, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// TestMovedWatches: the watches of a cluster that has settled on another shard end with an
// ERROR event, or are cut where none can be told from what is before it. No other watch
// ends, and none does before.
func TestMovedWatches(t *testing.T) {
	t.Parallel()
	expired, err := watchframes.NewErrors(*apistatus.ExpiredByMove())
	if err != nil {
		t.Fatal(err)
	}
	protocols(t, func(t *testing.T, client2, shard2 bool) {
		for name, tc := range map[string]struct {
			media, encoding, accept string
			want                    []byte // nil: it is cut
		}{
			"JSON":       {media: jsonMedia, want: expired[watchframes.JSON]},
			"Protobuf":   {media: protoMedia, want: expired[watchframes.Protobuf]},
			"Table":      {media: jsonMedia, accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"},
			"compressed": {media: jsonMedia, encoding: "gzip"},
			"CBOR":       {media: "application/cbor-seq"},
			"text":       {media: "text/plain"},
		} {
			t.Run(name, func(t *testing.T) {
				w, s, moves := movingWorld(t, shard2)
				f := w.front(t)
				query := "?watch=1&encoding=" + tc.encoding + "&media=" + strings.ReplaceAll(tc.media, ";", "%3B")
				header := http.Header{"Accept": {tc.accept}}
				event := frame(tc.media, `{"type":"ADDED"}`)
				moved := open(t, f, client2, "/clusters/root:ws/api/v1/a"+query, header)
				byName := open(t, f, client2, "/clusters/2kd9/api/v1/b"+query, header)
				other := open(t, f, client2, "/clusters/other/api/v1/c"+query, header)
				for name, from := range map[string]io.Reader{"a": moved.Body, "b": byName.Body, "c": other.Body} {
					s.channel(name) <- event + event
					read(t, from, event+event)
				}
				moves.set("2kd9", "old", index.Moving)
				moves.set("2kd9", "new", index.Moved) // those of another shard
				moves.set("other", "old", index.NotMoving)
				for name, from := range map[string]io.Reader{"a": moved.Body, "b": byName.Body, "c": other.Body} {
					s.channel(name) <- event
					read(t, from, event)
				}
				if n := f.streams.set.counts()[watchStream]; n != 3 {
					t.Fatalf("%d watches are open before the cluster has settled, want 3", n)
				}
				moves.set("2kd9", "old", index.Moved)
				moves.set("2kd9", "old", index.Moved) // told again
				for _, from := range []io.Reader{moved.Body, byName.Body} {
					rest, err := io.ReadAll(from)
					if tc.want == nil && err == nil || tc.want != nil && err != nil || !bytes.Equal(rest, tc.want) {
						t.Errorf("it ends with %q, %v; want %q", rest, err, tc.want)
					}
				}
				s.channel("c") <- event
				read(t, other.Body, event)
				w.eventually(t, "two watches are counted", func() bool {
					return value(t, f.config.Metrics, `front_proxy_streams_revoked_total{reason="moved"}`) == 2
				})
				if n := value(t, f.config.Metrics, `front_proxy_streams_revoked_total{reason="not_admitted"}`); n != 0 || f.panics.Load() != 0 {
					t.Errorf("%v are counted as not admitted, %d panics", n, f.panics.Load())
				}
			})
		}
	})
}

// TestMovedWatchEndsItsFrame: within a frame, the ERROR event waits for its end, and what
// comes after it is left out.
func TestMovedWatchEndsItsFrame(t *testing.T) {
	expired, err := watchframes.NewErrors(*apistatus.ExpiredByMove())
	if err != nil {
		t.Fatal(err)
	}
	for media, want := range map[string][]byte{jsonMedia: expired[watchframes.JSON], protoMedia: expired[watchframes.Protobuf]} {
		protocols(t, func(t *testing.T, client2, shard2 bool) {
			w, s, moves := movingWorld(t, shard2)
			f := w.front(t)
			res := open(t, f, client2, "/clusters/root:ws/api/v1/a?watch=1&media="+strings.ReplaceAll(media, ";", "%3B"), nil)
			event := frame(media, strings.Repeat("x", 3*streamBuffer))
			s.channel("a") <- event[:9]
			read(t, res.Body, event[:9])
			moves.set("2kd9", "old", index.Moved)
			w.eventually(t, "the watch is to end", func() bool { return f.streams.moved.Load() == 1 })
			s.channel("a") <- event[9:] + event + event
			rest, err := io.ReadAll(res.Body)
			if got := event[:9] + string(rest); err != nil || got != event+string(want) {
				t.Errorf("%s: after a frame of %d bytes: %q, %v", media, len(event), got[min(len(event), len(got)):], err)
			}
		})
	}
}

// TestWatchEndedByItsShardDuringAMove: the shard ends a cluster's watches when its move
// begins. Clients are kept until it is over: then they get the ERROR event, or, if the
// cluster stays, the end.
func TestWatchEndedByItsShardDuringAMove(t *testing.T) {
	expired, err := watchframes.NewErrors(*apistatus.ExpiredByMove())
	if err != nil {
		t.Fatal(err)
	}
	for outcome, want := range map[index.MoveState]string{index.Moved: string(expired[watchframes.JSON]), index.NotMoving: ""} {
		protocols(t, func(t *testing.T, client2, shard2 bool) {
			w, s, moves := movingWorld(t, shard2)
			f := w.front(t)
			res := open(t, f, client2, "/clusters/root:ws/api/v1/a?watch=1&media="+jsonMedia, nil)
			gone := open(t, f, client2, "/clusters/root:ws/api/v1/b?watch=1&media="+jsonMedia, nil)
			moves.set("2kd9", "old", index.Moving)
			close(s.channel("a"))
			close(s.channel("b"))
			w.eventually(t, "both watches wait", func() bool {
				n := 0
				for _, st := range f.streams.set.ofCluster("2kd9") {
					st.watch.move.mu.Lock()
					if st.watch.move.wake != nil {
						n++
					}
					st.watch.move.mu.Unlock()
				}
				return n == 2
			})
			_ = gone.Body.Close() // a client that leaves
			w.eventually(t, "one watch is left", func() bool { return len(f.streams.set.ofCluster("2kd9")) == 1 })
			moves.set("2kd9", "old", outcome)
			if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != want {
				t.Errorf("when its state is %d, it ends with %q, %v", outcome, rest, err)
			}
		})
	}
}

// TestMovedUpgrade: an upgraded connection to the old shard is cut.
func TestMovedUpgrade(t *testing.T) {
	w, moves := newWorld(t), newFakeMoves()
	w.shard(t, "old", false, func(rw http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{}
		c, err := up.Upgrade(rw, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_, _, _ = c.ReadMessage()
	})
	w.config.Moves = moves
	f := w.front(t)
	d := websocket.Dialer{TLSClientConfig: f.client(t, false).Transport.(*http.Transport).TLSClientConfig}
	c, res, err := d.Dial(strings.Replace(f.URL, "https", "wss", 1)+"/clusters/root:ws/api/v1/a?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	defer func() { _ = c.Close() }()
	w.eventually(t, "the stream is known", func() bool { return len(f.streams.set.ofCluster("2kd9")) == 1 })
	moves.set("2kd9", "old", index.Moved)
	if _, _, err := c.ReadMessage(); err == nil {
		t.Error("a message came instead of the end")
	}
}

// TestWatchThatBeginsAfterAMoveExpires: the cluster has settled between the lookup and the answer.
func TestWatchThatBeginsAfterAMoveExpires(t *testing.T) {
	w, _, moves := movingWorld(t, true)
	f := w.front(t)
	moves.set("2kd9", "old", index.Moved)
	res := open(t, f, true, "/clusters/root:ws/api/v1/a?watch=1&media="+jsonMedia, nil)
	if rest, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(rest), `"reason":"Expired"`) {
		t.Errorf("it ends with %q, %v", rest, err)
	}
}

// TestStreamsOfClusters compares the streams of each cluster with what they should be, while
// streams come and go in any order.
func TestStreamsOfClusters(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	s, want := newStreamSet(), map[string]map[*stream]bool{}
	var all []*stream
	for range 5000 {
		if len(all) > 0 && rnd.IntN(5) < 2 {
			n := rnd.IntN(len(all))
			s.remove(all[n])
			delete(want[all[n].cluster], all[n])
			all = slices.Delete(all, n, n+1)
			continue
		}
		st := &stream{kind: watchStream}
		cluster := fmt.Sprint(rnd.IntN(20))
		if cluster != "0" { // some have no cluster
			st.cluster, st.shard = cluster, "shard"
		}
		all = append(all, s.add(st))
		if st.shard != "" {
			if want[cluster] == nil {
				want[cluster] = map[*stream]bool{}
			}
			want[cluster][st] = true
		}
		for cluster, streams := range want {
			got := s.ofCluster(cluster)
			for _, st := range got {
				if !streams[st] {
					t.Fatalf("a stream of %q is one of cluster %s", st.cluster, cluster)
				}
			}
			if len(got) != len(streams) {
				t.Fatalf("cluster %s has %d streams, want %d", cluster, len(got), len(streams))
			}
		}
	}
	for _, st := range all {
		s.remove(st)
		s.remove(st)
	}
	if len(s.clusters) != 0 {
		t.Errorf("%d clusters are left", len(s.clusters))
	}
}

// TestMovesAreSpread: streams of a cluster that has moved end evenly over a time that
// grows with their number up to a bound, each once.
func TestMovesAreSpread(t *testing.T) {
	for _, tc := range []struct {
		streams int
		window  time.Duration
	}{{3, 30 * time.Millisecond}, {400, 4 * time.Second}, {20_000, moveSpread}} {
		t.Run(fmt.Sprint(tc.streams), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				moves := newFakeMoves()
				ss := &streamSupervisor{set: newStreamSet(), moves: moves}
				moves.OnMove(ss.moveChanged)
				begin := time.Now()
				ends := make(chan time.Duration, tc.streams+1)
				for n := range tc.streams + 100 {
					st := &stream{kind: upgradeStream}
					st.end = func() {
						ends <- time.Since(begin)
						ss.set.remove(st)
					}
					switch {
					case n < tc.streams:
						st.cluster, st.shard = "c", "old"
					case n%3 == 0:
						st.cluster, st.shard = "c", "new"
					case n%3 == 1:
						st.cluster, st.shard = "other", "old"
					}
					ss.set.add(st)
				}
				moves.set("c", "old", index.Moved)
				moves.set("c", "old", index.Moved)
				time.Sleep(time.Minute)
				synctest.Wait()
				close(ends)
				const slots = 10
				var ended [slots]int
				all := 0
				for at := range ends {
					if at >= tc.window {
						t.Fatalf("a stream has ended after %v", at)
					}
					ended[at*slots/tc.window]++
					all++
				}
				if all != tc.streams || ss.moved.Load() != uint64(tc.streams) {
					t.Errorf("%d streams have ended, %d are counted, want %d", all, ss.moved.Load(), tc.streams)
				}
				if most := slices.Max(ended[:]); tc.streams >= 400 && (most > tc.streams/5 || slices.Min(ended[:]) == 0) {
					t.Errorf("they ended in tenths of the time as %v", ended)
				}
			})
		})
	}
}
