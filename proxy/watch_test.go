package proxy

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"frontproxy/index"
)

// TestConcurrentWatchesKeepTheirEvents: watches that have much to say from the beginning, when
// their connections change hands, again and again on the same ones.
func TestConcurrentWatchesKeepTheirEvents(t *testing.T) {
	t.Parallel()
	const size = 20 * streamBuffer
	w := newWorld(t)
	shard := w.shard(t, "shard", true, func(rw http.ResponseWriter, _ *http.Request) {
		flush := http.NewResponseController(rw)
		for range size >> 10 {
			_, _ = rw.Write(make([]byte, 1<<10))
			_ = flush.Flush()
		}
	})
	w.index["ws"] = index.Target{Cluster: "ws", Shard: shard.Shard}
	f := w.front(t)
	var all sync.WaitGroup
	for worker := range 8 {
		client := f.client(t, worker%2 == 0)
		all.Go(func() {
			for range 50 {
				resp, err := client.Get(f.URL + "/clusters/ws/api/v1/pods?watch=1")
				if err != nil {
					t.Error(err)
					return
				}
				n, err := io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if n != size || err != nil {
					t.Errorf("%d bytes of %d: %v", n, size, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// steps is a body that comes in pieces of these sizes, and notes how much room
// there was for each.
type steps struct {
	sizes []int
	rooms []int
}

func (s *steps) Read(p []byte) (int, error) {
	s.rooms = append(s.rooms, len(p))
	if len(s.sizes) == 0 {
		return 0, io.EOF
	}
	n := min(s.sizes[0], len(p))
	if s.sizes[0] -= n; s.sizes[0] == 0 {
		s.sizes = s.sizes[1:]
	}
	return n, nil
}

func (*steps) Close() error { return nil }

// nowhere is a sink.
type nowhere struct{}

func (nowhere) send([]byte, int) error  { return nil }
func (nowhere) close(http.Header) error { return nil }

// TestIdleWatchHasASmallBuffer: what follows a full buffer has a large one, and what
// waits has a small one, whatever came before.
func TestIdleWatchHasASmallBuffer(t *testing.T) {
	const small, large = streamBuffer - chunkHead - chunkTail, copyBuffer - chunkHead - chunkTail
	w := newWorld(t)
	p := w.front(t).Proxy
	for name, tt := range map[string]struct{ sizes, rooms []int }{
		"small events":   {[]int{100, 200}, []int{small, small, small}},
		"a large one":    {[]int{5000, 100}, []int{small, large, small, small}},
		"a full one":     {[]int{small, 100}, []int{small, large, small}},
		"a burst":        {[]int{small + 2*large + 5, 1}, []int{small, large, large, large, small, small}},
		"nothing at all": {nil, []int{small}},
	} {
		t.Run(name, func(t *testing.T) {
			body := &steps{sizes: tt.sizes}
			s := &watch{answer: &http.Response{}, body: body, streams: &p.streams}
			if err := s.copy(nowhere{}); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(tt.rooms, body.rooms); diff != "" {
				t.Errorf("buffers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWatchEnds: the end of a watch is the client's as it was the shard's, with
// what came after it, and one that broke off breaks off.
func TestWatchEnds(t *testing.T) {
	protocols(t, func(t *testing.T, client2, shard2 bool) {
		w := newWorld(t)
		w.shard(t, "shard-1", shard2, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Trailer", "X-Announced")
			_, _ = io.WriteString(rw, "event")
			_ = http.NewResponseController(rw).Flush()
			if r.URL.Query().Get("broken") != "" {
				panic(http.ErrAbortHandler)
			}
			rw.Header().Set("X-Announced", "one")
			rw.Header().Set(http.TrailerPrefix+"X-Other", "two")
		})
		f := w.front(t)
		c := f.client(t, client2)
		for range 3 {
			res, err := c.Get(f.URL + "/clusters/root:ws/api/v1/pods?watch=1")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || string(body) != "event" {
				t.Fatalf("%q, %v", body, err)
			}
			if diff := cmp.Diff(http.Header{"X-Announced": {"one"}, "X-Other": {"two"}}, res.Trailer); diff != "" {
				t.Errorf("trailers (-want +got):\n%s", diff)
			}
		}
		if res, err := c.Get(f.URL + "/clusters/root:ws/api/v1/pods?watch=1&broken=1"); err == nil {
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err == nil {
				t.Errorf("the client takes %q for the whole answer", body)
			}
		}
		w.eventually(t, "the answer that broke off is counted once", func() bool {
			return value(t, f.config.Metrics, `front_proxy_upstream_errors_total{reason="response_interrupted",shard="shard-1",upstream="shard"}`) == 1
		})
		if f.panics.Load() != 0 {
			t.Error("an upstream's failure was counted as a panic")
		}
	})
}
