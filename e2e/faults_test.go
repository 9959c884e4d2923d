package e2e

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"frontproxy/e2e/harness"
)

// neighbour asks a workspace over and over until it is told to end.
type neighbour struct {
	asked, lost atomic.Int64
	slowest     atomic.Int64
	first       atomic.Value // the first error
	end         func()
}

func newNeighbour(t *testing.T, c *harness.Client, path string) *neighbour {
	t.Helper()
	n := &neighbour{}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(5 * time.Millisecond) // others use the machine
				begin := time.Now()
				_, err := c.Raw(ctx, path)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					n.lost.Add(1)
					n.first.CompareAndSwap(nil, err)
				}
				n.asked.Add(1)
				n.slowest.Store(max(n.slowest.Load(), int64(time.Since(begin))))
			}
		})
	}
	n.end = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(n.end)
	return n
}

// TestShardsFail: while a shard is killed or frozen, requests for its
// workspaces are answered with 503 and Retry-After, soon and then at once, the
// other shard's are served as ever, and all is well again without a restart
// when it is back. Not parallel: others use the shard.
func TestShardsFail(t *testing.T) {
	o := newOrg(t, harness.RootShard)
	near, far := o.workspace("near", harness.TypeRef{}, harness.RootShard), o.workspace("far", harness.TypeRef{}, shardOne)
	admin := env.Admin()
	path := func(w harness.Workspace) string {
		return "/clusters/" + w.Path + "/api/v1/namespaces/default/configmaps"
	}
	eventuallyIn(t, admin, near.Path)
	eventuallyIn(t, admin, far.Path)
	shard := env.Shard(shardOne)

	// refused is how long it takes until far is refused as it should be.
	refused := func(t *testing.T) time.Duration {
		t.Helper()
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := admin.Raw(ctx, path(far))
		var status apierrors.APIStatus
		switch {
		case err == nil || !errors.As(err, &status) || status.Status().Code != http.StatusServiceUnavailable:
			t.Fatalf("after %v: %v, want 503", time.Since(begin), err)
		case status.Status().Details == nil || status.Status().Details.RetryAfterSeconds == 0:
			t.Errorf("503 without a time to retry after: %+v", status.Status())
		}
		return time.Since(begin)
	}
	back := func(t *testing.T) {
		t.Helper()
		eventually(t, "the shard's workspace to be served again", func(ctx context.Context) error {
			_, err := admin.Raw(ctx, path(far))
			return err
		})
	}
	for _, fault := range []struct {
		name       string
		wreak, end func() error
		first      time.Duration // bound for the first answer
	}{
		{"killed", func() error { shard.Kill(); return nil }, func() error { return shard.Start(t.Context()) }, 10 * time.Second},
		// Noticed after 15 s without an answer and 10 s without a handshake.
		{"frozen", shard.Freeze, func() error { shard.Thaw(); return nil }, 40 * time.Second},
	} {
		t.Run(fault.name, func(t *testing.T) {
			other := newNeighbour(t, admin, path(near))
			check(t, fault.wreak())
			ended := false
			defer func() {
				if !ended {
					_ = fault.end()
				}
			}()
			first := refused(t)
			if first > fault.first {
				t.Errorf("the first refusal came after %v, want it within %v", first, fault.first)
			}
			var later time.Duration
			for range 20 {
				later = max(later, refused(t))
			}
			if later > 5*time.Second {
				t.Errorf("a later refusal took %v", later)
			}
			other.end()
			ended = true
			check(t, fault.end())
			back(t)
			if n := other.lost.Load(); n > 0 || other.asked.Load() == 0 {
				t.Errorf("of %d requests to the other shard %d were lost: %v", other.asked.Load(), n, other.first.Load())
			}
			t.Logf("first refusal after %v, later ones within %v; other shard: %d requests, %d lost, the slowest %v",
				first, later, other.asked.Load(), other.lost.Load(), time.Duration(other.slowest.Load()))
		})
	}
}
