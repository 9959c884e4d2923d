package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"frontproxy/index/shards"
	"frontproxy/internal/fairqueue"
)

// hangingShards stands in for all shards. It never answers requests for the accounts of some
// clusters, and at once those for all others'.
type hangingShards struct {
	hangs func(cluster string) bool

	mu      sync.Mutex
	pending map[string]int // requests without an answer, by shard
}

// RoundTrip implements http.RoundTripper.
func (s *hangingShards) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.hangs(strings.Split(r.URL.Path, "/")[2]) {
		return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Body: io.NopCloser(strings.NewReader(`{"metadata":{"uid":"u"}}`))}, nil
	}
	s.count(r.URL.Host, 1)
	defer s.count(r.URL.Host, -1)
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func (s *hangingShards) count(shard string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[shard] += n
}

// waiting returns how many requests wait for an answer, and at how many shards.
func (s *hangingShards) waiting() (requests, shards int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.pending {
		requests += n
	}
	return requests, len(s.pending)
}

// client returns an AccountClient of these shards. The placement maps clusters to hosts.
func (s *hangingShards) client(t *testing.T, placement Shards) *AccountClient {
	t.Helper()
	s.pending = map[string]int{}
	h, err := NewAccountClient(AccountClientConfig{Shards: placement, Client: &rest.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	h.client.http = &http.Client{Transport: s}
	return h
}

// shardByPrefix places a cluster on the shard that its name starts with.
type shardByPrefix struct{}

func (shardByPrefix) Holder(cluster string) (*shards.Shard, error) {
	shard, _, _ := strings.Cut(cluster, "-")
	return place{cluster: "https://" + shard}.Holder(cluster)
}

// lookUpMany looks up this many accounts at the same time. It returns when all of them wait or
// have failed, and ends them with the test.
func lookUpMany(t *testing.T, h *AccountClient, accounts int, cluster func(n int) string) {
	for n := range accounts {
		go func() { _, _ = h.ServiceAccount(t.Context(), cluster(n), "default", fmt.Sprint("bot-", n), false) }()
	}
	synctest.Wait()
	t.Cleanup(func() { time.Sleep(lookupTimeout) }) // running look-ups end by themselves only
}

// TestHangingShardsLeaveLookupsToOtherShards: the accounts of one or of several shards that
// hang, however many they are, do not keep those of other shards from being looked up.
func TestHangingShardsLeaveLookupsToOtherShards(t *testing.T) {
	for _, hanging := range []int{1, 5} {
		t.Run(fmt.Sprint(hanging), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &hangingShards{hangs: func(cluster string) bool { return strings.HasPrefix(cluster, "hung") }}
				h := s.client(t, shardByPrefix{})
				lookUpMany(t, h, 1200+300*hanging, func(n int) string { return fmt.Sprintf("hung%d-%d", n%hanging, n/100) })
				if requests, shards := s.waiting(); requests > maxRunning || shards != hanging || hanging == 1 && requests != maxRunning/2 {
					t.Errorf("%d requests under way at %d shards, want at most %d at all of %d, and %d at a single one", requests, shards, maxRunning, hanging, maxRunning/2)
				}
				if _, err := h.ServiceAccount(t.Context(), "sound-1", "default", "bot", false); err != nil {
					t.Errorf("an account of another shard: %v", err)
				}
			})
		})
	}
}

// TestLookupOutlivesARequestThatDoesNotWait: a request that must not wait gets no result, and
// starts the look-up whose result the next one finds.
func TestLookupOutlivesARequestThatDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &hangingShards{hangs: func(string) bool { return false }}
		h := s.client(t, shardByPrefix{})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.ServiceAccount(ended, "shard-1", "default", "bot", false); !errors.Is(err, context.Canceled) {
			t.Errorf("at first: %v, want %v", err, context.Canceled)
		}
		synctest.Wait()
		if got, err := h.ServiceAccount(ended, "shard-1", "default", "bot", false); err != nil || got.UID != "u" {
			t.Errorf("then: %v, %v", got, err)
		}
	})
}

// TestOneClusterLeavesLookupsToOthers: a logical cluster with many accounts that take long to
// look up does not keep the others of its shard from theirs.
func TestOneClusterLeavesLookupsToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &hangingShards{hangs: func(cluster string) bool { return cluster == "shard-large" }}
		h := s.client(t, shardByPrefix{})
		lookUpMany(t, h, 1500, func(int) string { return "shard-large" })
		if _, err := h.ServiceAccount(t.Context(), "shard-small", "default", "bot", false); err != nil {
			t.Errorf("an account of another cluster: %v", err)
		}
	})
}

// TestKnownAccountsStayValidWhileLookupsAreFull: an account that was found stays valid for the
// grace while its cluster's share of the look-ups is used up.
func TestKnownAccountsStayValidWhileLookupsAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hung atomic.Bool
		s := &hangingShards{hangs: func(string) bool { return hung.Load() }}
		h := s.client(t, shardByPrefix{})
		h.config.Grace = time.Minute
		if _, err := h.ServiceAccount(t.Context(), "shard-1", "default", "bot", false); err != nil {
			t.Fatal(err)
		}
		hung.Store(true)
		time.Sleep(DefaultFresh)
		lookUpMany(t, h, 1500, func(int) string { return "shard-1" })
		if got, err := h.ServiceAccount(t.Context(), "shard-1", "default", "bot", false); err != nil || got.UID != "u" {
			t.Errorf("within the grace: %v, %v", got, err)
		}
		if _, err := h.ServiceAccount(t.Context(), "shard-1", "default", "bot", true); !errors.Is(err, fairqueue.ErrFull) {
			t.Errorf("where a recent answer is wanted: %v, want ErrFull", err)
		}
	})
}
