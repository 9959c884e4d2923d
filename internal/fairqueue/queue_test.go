package fairqueue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var limits = Limits{Running: 4, Calls: 16, Waiters: 32, Timeout: time.Minute}

// state is what a queue counts.
type state struct{ Calls, Queued, Running, Waiters int }

func (q *Queue[K, V]) state() state {
	q.mu.Lock()
	defer q.mu.Unlock()
	return state{len(q.calls), len(q.queued), q.running, q.waiters}
}

// server makes calls that last until they are released.
type server struct {
	*Queue[string, string]
	released chan struct{}

	mu   sync.Mutex
	made []string
}

func newServer(l Limits) *server {
	return &server{Queue: New[string, string](l), released: make(chan struct{})}
}

// ask makes the call for a key; it answers with the key.
func (s *server) ask(ctx context.Context, key string, names ...string) error {
	got, err := s.Do(ctx, key, names, func() func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			s.mu.Lock()
			s.made = append(s.made, key)
			s.mu.Unlock()
			select {
			case <-s.released:
				return key, nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
	})
	if err == nil && got != key {
		err = fmt.Errorf("%s got the result of %s", key, got)
	}
	return err
}

// empty checks that the queue has forgotten all.
func (s *server) empty(t *testing.T) {
	t.Helper()
	if diff := cmp.Diff(state{}, s.state()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if n := len(s.callsOf) + len(s.runningOf) + len(s.waitersOf); n != 0 {
		t.Errorf("%d callers are remembered", n)
	}
}

// TestCallersShareCalls: a crowd of distinct calls under one name, at either place,
// takes half of the places; two crowds leave a third; and others run at once.
func TestCallersShareCalls(t *testing.T) {
	for name, caller := range map[string]func(n int) []string{
		"first name":  func(n int) []string { return []string{"crowd", fmt.Sprint(n)} },
		"second name": func(n int) []string { return []string{fmt.Sprint(n), "crowd"} },
		"only name":   func(int) []string { return []string{"crowd"} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(limits)
				results := make(chan error, 2*limits.Calls)
				for n := range 2 * limits.Calls {
					go func() { results <- s.ask(t.Context(), fmt.Sprint("crowd-", n), caller(n)...) }()
				}
				synctest.Wait()
				if diff := cmp.Diff(state{8, 6, 2, 8}, s.state()); diff != "" {
					t.Fatalf("one crowd (-want +got):\n%s", diff)
				}
				for range 2*limits.Calls - 8 {
					if err := <-results; !errors.Is(err, ErrFull) {
						t.Errorf("beyond the share: %v", err)
					}
				}
				go func() { results <- s.ask(t.Context(), "other", "other") }()
				synctest.Wait()
				if diff := cmp.Diff(state{9, 6, 3, 9}, s.state()); diff != "" {
					t.Errorf("somebody else does not run at once (-want +got):\n%s", diff)
				}
				close(s.released)
				for range 9 {
					if err := <-results; err != nil {
						t.Error(err)
					}
				}
				synctest.Wait()
				s.empty(t)
			})
		})
	}
}

// TestNestedNamesDivideTheFirstNamesShare: of a server's half, one of its tenants takes half,
// and the next one half of what is left. Another server's tenant has its turn at once, too.
func TestNestedNamesDivideTheFirstNamesShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(Limits{Running: 16, Calls: 64, Waiters: 64, Timeout: time.Minute, Nested: true})
		tenant := func(server, tenant string) (refused *atomic.Int32) {
			refused = new(atomic.Int32)
			for n := range 64 {
				go func() {
					if err := s.ask(t.Context(), fmt.Sprint(server, tenant, n), server, server+tenant); errors.Is(err, ErrFull) {
						refused.Add(1)
					}
				}()
			}
			synctest.Wait()
			return refused
		}
		for _, step := range []struct {
			server, tenant string
			want           state // of all so far
		}{
			{"a", "1", state{Calls: 16, Queued: 12, Running: 4, Waiters: 16}},
			{"a", "2", state{Calls: 24, Queued: 18, Running: 6, Waiters: 24}},
			{"b", "1", state{Calls: 34, Queued: 25, Running: 9, Waiters: 34}},
		} {
			before, _ := s.Len()
			refused := tenant(step.server, step.tenant)
			if diff := cmp.Diff(step.want, s.state()); diff != "" {
				t.Errorf("after %s of %s (-want +got):\n%s", step.tenant, step.server, diff)
			}
			if after, _ := s.Len(); int(refused.Load()) != 64-(after-before) {
				t.Errorf("%s of %s: %d refused, %d calls", step.tenant, step.server, refused.Load(), after-before)
			}
		}
		close(s.released)
		synctest.Wait()
		s.empty(t)
	})
}

// TestNestedTurnsCompareFirstNamesFirst: a slot that gets free goes to the server with the
// fewest calls running, and there to the tenant with the fewest.
func TestNestedTurnsCompareFirstNamesFirst(t *testing.T) {
	q := New[string, string](Limits{Running: 16, Calls: 64, Waiters: 64, Timeout: time.Minute, Nested: true})
	a1, a2, b1 := q.caller([]string{"a", "a1"}), q.caller([]string{"a", "a2"}), q.caller([]string{"b", "b1"})
	for name, n := range map[uint64]int{a1[0]: 3, a1[1]: 1, a2[1]: 2, b1[0]: 2, b1[1]: 2} {
		q.runningOf[name] = n
	}
	for name, tc := range map[string]struct {
		a, b caller
		want bool
	}{
		"server with fewer":         {b1, a1, true},
		"server with more":          {a1, b1, false},
		"same server, fewer":        {a1, a2, true},
		"same server, more":         {a2, a1, false},
		"of equals, who came first": {a1, a1, false},
	} {
		if got := q.before(tc.a, tc.b); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestNestedNamesUseTheLastSlot: a caller for whom there is one slot left gets it.
func TestNestedNamesUseTheLastSlot(t *testing.T) {
	q := New[string, string](Limits{Running: 1, Calls: 1, Waiters: 1, Timeout: time.Minute, Nested: true})
	c, _, err := q.join("key", q.caller([]string{"shard", "cluster"}))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.turn:
	default:
		t.Error("its turn does not come")
	}
}

// TestFewestRunningIsNext: a place that gets free goes to the caller who has the
// fewest calls running, whoever came first.
func TestFewestRunningIsNext(t *testing.T) {
	q := New[string, string](limits)
	join := func(key, name string) *call[string] {
		c, _, err := q.join(key, q.caller([]string{name}))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	turn := func(c *call[string]) bool {
		select {
		case <-c.turn:
			return true
		default:
			return false
		}
	}
	a1, a2, a3 := join("a1", "a"), join("a2", "a"), join("a3", "a")
	b1, b2 := join("b1", "b"), join("b2", "b")
	c1 := join("c1", "c")
	if got := []bool{turn(a1), turn(a2), turn(a3), turn(b1), turn(b2), turn(c1)}; !cmp.Equal(got, []bool{true, true, false, true, false, true}) {
		t.Fatalf("at first: %v", got)
	}
	q.end("c1", c1, "", nil) // one place: a has two running, b one, and of the room for one neither may take it
	if turn(a3) || turn(b2) {
		t.Error("a crowd takes the last place")
	}
	q.end("a1", a1, "", nil) // two places: a and b have one running each
	if !turn(a3) || turn(b2) {
		t.Errorf("of equals the first to come is not next: %v, %v", turn(a3), turn(b2))
	}
	q.end("a2", a2, "", nil) // a has one running again, b one
	if !turn(b2) {
		t.Error("b2 waits still")
	}
}

// TestCallersShareWaiters: one caller's requests for the same result fill half of
// the room for those who wait.
func TestCallersShareWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(limits)
		results := make(chan error, 2*limits.Waiters)
		for range 2 * limits.Waiters {
			go func() { results <- s.ask(t.Context(), "same", "crowd") }()
		}
		synctest.Wait()
		if diff := cmp.Diff(state{1, 0, 1, 16}, s.state()); diff != "" {
			t.Fatalf("one crowd (-want +got):\n%s", diff)
		}
		for range 2*limits.Waiters - 16 {
			if err := <-results; !errors.Is(err, ErrFull) {
				t.Errorf("beyond the share: %v", err)
			}
		}
		for _, key := range []string{"same", "other"} {
			go func() { results <- s.ask(t.Context(), key, "other") }()
		}
		synctest.Wait()
		close(s.released)
		for range 18 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		s.empty(t)
		if len(s.made) != 2 {
			t.Errorf("calls made: %q", s.made)
		}
	})
}

// TestCallsWithoutNamesHaveNoShares: without names there are only the bounds for all.
func TestCallsWithoutNamesHaveNoShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(limits)
		results := make(chan error, 2*limits.Waiters)
		for n := range limits.Calls + 1 {
			go func() { results <- s.ask(t.Context(), fmt.Sprint(n)) }()
		}
		synctest.Wait()
		if diff := cmp.Diff(state{16, 12, 4, 16}, s.state()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := <-results; !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "16 are already running") {
			t.Errorf("one more call: %v", err)
		}
		refusedOne := ""
		for n := range limits.Calls { // the call that found no room is not there to join
			if _, there := s.calls[fmt.Sprint(n)]; there {
				refusedOne = fmt.Sprint(n)
			}
		}
		for range limits.Waiters - limits.Calls {
			go func() { results <- s.ask(t.Context(), refusedOne) }()
		}
		synctest.Wait()
		if err := s.ask(t.Context(), refusedOne); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "32 requests") {
			t.Errorf("one more request: %v", err)
		}
		close(s.released)
		synctest.Wait()
		s.empty(t)
	})
}

// TestAbandonedCalls: one that waits for its turn ends with the last who wants its
// result, and who comes next has it made anew; one that runs goes on.
func TestAbandonedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(Limits{Running: 1, Calls: 16, Waiters: 32, Timeout: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 8)
		for _, key := range []string{"runs", "waits"} {
			go func() { results <- s.ask(ctx, key) }()
			synctest.Wait()
		}
		cancel()
		for range 2 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}
		synctest.Wait()
		if diff := cmp.Diff(state{1, 0, 1, 0}, s.state()); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		for _, key := range []string{"runs", "waits"} {
			go func() { results <- s.ask(t.Context(), key) }()
			synctest.Wait()
		}
		close(s.released)
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		s.empty(t)
		if diff := cmp.Diff([]string{"runs", "waits"}, s.made); diff != "" {
			t.Errorf("made (-want +got):\n%s", diff)
		}
	})
}

// TestNewCallAfterAbandonedOne: the end of a call that was given up does not take
// away the next one for its key.
func TestNewCallAfterAbandonedOne(t *testing.T) {
	q := New[string, string](limits)
	old, _, err := q.join("key", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.leave("key", old, nil)
	fresh, first, err := q.join("key", nil)
	if err != nil || !first || fresh == old {
		t.Fatalf("again: first %t, %v", first, err)
	}
	if q.start(old) || !q.start(fresh) {
		t.Error("the abandoned one is made, or the new one is not")
	}
	q.end("key", old, "", errAbandoned)
	if joined, first, err := q.join("key", nil); err != nil || first || joined != fresh {
		t.Errorf("the end of the old one took the new one away: %t, %v", first, err)
	}
}

// TestCallWithoutATurnIsNotMade: a call that has not got its turn in time is not made.
func TestCallWithoutATurnIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string, string](Limits{Running: 1, Calls: 16, Waiters: 32, Timeout: time.Minute})
		block := make(chan struct{})
		go func() {
			_, _ = q.Do(t.Context(), "heeds no deadline", nil, func() func(context.Context) (string, error) {
				return func(context.Context) (string, error) { <-block; return "", nil }
			})
		}()
		synctest.Wait()
		_, err := q.Do(t.Context(), "waits", nil, func() func(context.Context) (string, error) {
			return func(context.Context) (string, error) { t.Error("made"); return "", nil }
		})
		if !errors.Is(err, ErrFull) {
			t.Errorf("error %v, want ErrFull", err)
		}
		close(block)
		synctest.Wait()
		if diff := cmp.Diff(state{}, q.state()); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
	})
}
