package ratelimit

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testClock goes on when it is told to.
type testClock struct{ passed atomic.Int64 }

func (c *testClock) now() time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(c.passed.Load()))
}
func (c *testClock) advance(d time.Duration) { c.passed.Add(int64(d)) }

func newLimiter(c Config) (*Limiter, *testClock) {
	clock := &testClock{}
	c.Now = clock.now
	return New(c), clock
}

// spent asks so often, and counts what passed.
func spent(times int, ask func() (Refusal, bool)) (passed int, last Refusal) {
	for range times {
		r, refused := ask()
		if !refused {
			passed++
		}
		last = r
	}
	return passed, last
}

func by(r Request) func(*Limiter) func() (Refusal, bool) {
	return func(l *Limiter) func() (Refusal, bool) {
		return func() (Refusal, bool) { return l.Caller(&r) }
	}
}

func from(remote string) func(*Limiter) func() (Refusal, bool) {
	return func(l *Limiter) func() (Refusal, bool) {
		return func() (Refusal, bool) { return l.Address(remote) }
	}
}

// TestBuckets asks once more than a burst, waits as long as it is told, and asks again.
func TestBuckets(t *testing.T) {
	alice := Request{Target: "2kd9", Workspace: true, User: "alice"}
	for _, tt := range []struct {
		name  string
		rates Config
		ask   func(*Limiter) func() (Refusal, bool)
		want  Refusal
	}{
		{"workspace", Config{Workspace: Rate{10, 5}}, by(alice), Refusal{Workspace, 100 * time.Millisecond, true}},
		{"identity", Config{Identity: Rate{0.5, 5}}, by(alice), Refusal{Identity, 2 * time.Second, true}},
		{"the smaller of both", Config{Workspace: Rate{10, 50}, Identity: Rate{4, 5}}, by(alice), Refusal{Identity, 250 * time.Millisecond, true}},
		{"both at once: the workspace's is asked first", Config{Workspace: Rate{10, 5}, Identity: Rate{4, 5}}, by(alice), Refusal{Workspace, 250 * time.Millisecond, true}},
		{"a caller whom nobody has authenticated", Config{Workspace: Rate{10, 5}, Identity: Rate{1, 1}}, by(Request{Target: "2kd9", Workspace: true}), Refusal{Workspace, 100 * time.Millisecond, true}},
		{"an identity in no workspace", Config{Workspace: Rate{1, 1}, Identity: Rate{10, 5}}, by(Request{Target: "/services/", User: "alice"}), Refusal{Identity, 100 * time.Millisecond, true}},
		{"address", Config{Address: Rate{10, 5}}, from("192.0.2.1:1"), Refusal{Address, 100 * time.Millisecond, true}},
		{"no address", Config{Address: Rate{10, 5}}, from("@"), Refusal{Address, 100 * time.Millisecond, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, clock := newLimiter(tt.rates)
			ask := tt.ask(l)
			passed, last := spent(6, ask)
			if diff := cmp.Diff(tt.want, last); passed != 5 || diff != "" {
				t.Errorf("%d of 6 passed, want the 5 of the burst; the last one (-want +got):\n%s", passed, diff)
			}
			clock.advance(last.RetryAfter - 1)
			if _, refused := ask(); !refused {
				t.Error("a request passes before it was told to come back")
			}
			clock.advance(1)
			if r, refused := ask(); refused {
				t.Errorf("refused when it comes back as it was told: %+v", r)
			}
			clock.advance(time.Hour)
			if passed, _ := spent(20, ask); passed != 5 {
				t.Errorf("%d of 20 passed after a long pause, want 5", passed)
			}
		})
	}
}

func TestNoLimit(t *testing.T) {
	l, _ := newLimiter(Config{})
	if passed, _ := spent(1000, by(Request{Target: "2kd9", Workspace: true, User: "alice"})(l)); passed != 1000 {
		t.Errorf("without limits %d of 1000 pass", passed)
	}
	if passed, _ := spent(1000, from("192.0.2.1:1")(l)); passed != 1000 {
		t.Errorf("without limits %d of 1000 pass from an address", passed)
	}
	l, _ = newLimiter(Config{Workspace: Rate{1, 1}, Identity: Rate{}})
	if passed, _ := spent(1000, by(Request{Target: "/services/", User: "alice"})(l)); passed != 1000 {
		t.Errorf("%d of 1000 pass that have no bucket", passed)
	}
}

// TestBucketSharing asks as the first until its bucket is empty, then once as the second.
func TestBucketSharing(t *testing.T) {
	identities := Config{Identity: Rate{1, 3}}
	workspaces := Config{Workspace: Rate{1, 3}}
	addresses := Config{Address: Rate{1, 3}}
	for _, tt := range []struct {
		name          string
		rates         Config
		first, second func(*Limiter) func() (Refusal, bool)
		shared        bool
	}{
		{"two users of a workspace, by workspace", workspaces, by(Request{"a", true, "alice", ""}), by(Request{"a", true, "bob", ""}), true},
		{"one user in two workspaces, by workspace", workspaces, by(Request{"a", true, "alice", ""}), by(Request{"b", true, "alice", ""}), false},
		{"users, and callers whom nobody has authenticated", workspaces, by(Request{"a", true, "", ""}), by(Request{"a", true, "alice", ""}), false},
		{"accounts of another workspace, and users", workspaces, by(Request{"a", true, "system:serviceaccount:n:s", "b"}), by(Request{"a", true, "alice", ""}), false},
		{"accounts of another workspace, and the workspace's own", workspaces, by(Request{"a", true, "system:serviceaccount:n:s", "b"}), by(Request{"a", true, "system:serviceaccount:n:s", "a"}), false},
		{"accounts of two other workspaces", workspaces, by(Request{"a", true, "system:serviceaccount:n:s", "b"}), by(Request{"a", true, "system:serviceaccount:n:s", "c"}), false},
		{"two accounts of another workspace", workspaces, by(Request{"a", true, "system:serviceaccount:n:s", "b"}), by(Request{"a", true, "system:serviceaccount:n:t", "b"}), true},
		{"accounts of the workspace, and users", workspaces, by(Request{"a", true, "system:serviceaccount:n:s", "a"}), by(Request{"a", true, "alice", ""}), true},
		{"two users of a workspace", identities, by(Request{"a", true, "alice", ""}), by(Request{"a", true, "bob", ""}), false},
		{"one user in two workspaces", identities, by(Request{"a", true, "alice", ""}), by(Request{"b", true, "alice", ""}), false},
		{"one name of two logical clusters", identities, by(Request{"a", true, "system:serviceaccount:n:s", "b"}), by(Request{"a", true, "system:serviceaccount:n:s", "a"}), false},
		{"names that are equal when they are joined", identities, by(Request{"a", true, "cd", "b"}), by(Request{"a", true, "d", "bc"}), false},
		{"one user", identities, by(Request{"a", true, "alice", "a"}), by(Request{"a", true, "alice", "a"}), true},
		{"an address with two ports", addresses, from("192.0.2.1:1"), from("192.0.2.1:2"), true},
		{"an address in two spellings", addresses, from("192.0.2.1:1"), from("[::ffff:192.0.2.1]:2"), true},
		{"two addresses", addresses, from("192.0.2.1:1"), from("192.0.2.2:1"), false},
		{"two addresses of a /64", addresses, from("[2001:db8::1]:1"), from("[2001:db8::ffff:2]:1"), true},
		{"two /64", addresses, from("[2001:db8:0:1::1]:1"), from("[2001:db8:0:2::1]:1"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, _ := newLimiter(tt.rates)
			if passed, _ := spent(10, tt.first(l)); passed != 3 {
				t.Fatalf("%d of 10 passed, want 3", passed)
			}
			if _, refused := tt.second(l)(); refused != tt.shared {
				t.Errorf("the second is refused: %v, want %v", refused, tt.shared)
			}
		})
	}
}

// TestRefusalsSpendNothing: what one bucket refuses costs no token in the other.
func TestRefusalsSpendNothing(t *testing.T) {
	alice, bob := Request{"a", true, "alice", ""}, Request{"a", true, "bob", ""}
	t.Run("refused as a user", func(t *testing.T) {
		l, _ := newLimiter(Config{Workspace: Rate{1, 10}, Identity: Rate{1, 3}})
		if passed, _ := spent(1000, by(alice)(l)); passed != 3 {
			t.Fatalf("%d passed", passed)
		}
		if passed, _ := spent(3, by(bob)(l)); passed != 3 {
			t.Errorf("%d of another user's 3 passed: refusals have spent the workspace's tokens", passed)
		}
	})
	t.Run("refused as a workspace", func(t *testing.T) {
		l, clock := newLimiter(Config{Workspace: Rate{1, 4}, Identity: Rate{0.001, 5}})
		if passed, _ := spent(1000, by(alice)(l)); passed != 4 {
			t.Fatalf("%d passed", passed)
		}
		clock.advance(10 * time.Second)
		if passed, last := spent(10, by(alice)(l)); passed != 1 || last.Kind != Identity {
			t.Errorf("%d passed, then %+v: refusals have spent the user's tokens", passed, last)
		}
	})
}

// TestRefusalsAreReportedOnceAMinute, whatever the number of refusals and of users.
func TestRefusalsAreReportedOnceAMinute(t *testing.T) {
	l, clock := newLimiter(Config{Identity: Rate{0.001, 1}})
	reports := func(user string) (n int) {
		ask := by(Request{"a", true, user, ""})(l)
		for range 100 {
			if r, _ := ask(); r.Report {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		user  string
		after time.Duration
		want  int
	}{{"alice", 0, 1}, {"bob", 0, 1}, {"alice", 59 * time.Second, 0}, {"alice", time.Second, 1}, {"alice", time.Second, 0}} {
		clock.advance(tt.after)
		if got := reports(tt.user); got != tt.want {
			t.Errorf("%s, %s later: %d reports, want %d", tt.user, tt.after, got, tt.want)
		}
	}
}

// TestBucketsAreBounded: what is kept is bounded, in buckets and in bytes, also by names that are
// as long as headers may be, and who keeps asking keeps an empty bucket all the while.
func TestBucketsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures memory for seconds: make test runs it")
	}
	l, _ := newLimiter(Config{Workspace: Rate{1000, 10000}, Identity: Rate{400, 4000}, Address: Rate{100, 1000}})
	busy := by(Request{"busy", true, "alice", ""})(l)
	if passed, _ := spent(5000, busy); passed != 4000 {
		t.Fatalf("%d of 5000 passed", passed)
	}
	long := strings.Repeat("x", 1000)
	before := heap()
	for n := range 3 * max(maxWorkspaces, maxIdentities, maxAddresses) { // each has a workspace, a user and an address
		name := strconv.Itoa(n)
		if n%10 == 0 {
			name += long
		}
		l.Caller(&Request{Target: name, Workspace: true, User: name, Home: name})
		l.Address("[2001:db8:" + strconv.FormatInt(int64(n>>16), 16) + ":" + strconv.FormatInt(int64(n&0xffff), 16) + "::1]:443")
		if n%10_000 == 0 {
			if _, refused := busy(); !refused {
				t.Fatalf("after %d other keys an empty bucket is full again, though it is in use", n)
			}
		}
	}
	for kind, b := range map[Kind]*buckets{Workspace: l.workspaces, Identity: l.identities, Address: l.addresses} {
		most := map[Kind]int{Workspace: maxWorkspaces, Identity: maxIdentities, Address: maxAddresses}[kind]
		if n := b.len(); n != most {
			t.Errorf("%s: %d buckets are kept, want %d", kind, n, most)
		}
	}
	const most = 230 * (maxWorkspaces + maxIdentities + maxAddresses)
	if used := heap() - before; used > most {
		t.Errorf("%d bytes for all buckets, at most %d are said to be needed", used, most)
	} else {
		t.Logf("%d bytes a bucket", used/(maxWorkspaces+maxIdentities+maxAddresses))
	}
	runtime.KeepAlive(l)
}

// len counts the buckets.
func (b *buckets) len() (n int) {
	for i := range b.parts {
		p := &b.parts[i]
		p.mu.Lock()
		n += p.lru.Len()
		p.mu.Unlock()
	}
	return n
}

// heap is what is reachable, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far below
}

// TestMadeUpIdentitiesGetNoMoreThanTheirWorkspace, though each has a full bucket.
func TestMadeUpIdentitiesGetNoMoreThanTheirWorkspace(t *testing.T) {
	l, _ := newLimiter(Config{Workspace: Rate{1, 100}, Identity: Rate{1, 50}})
	passed := 0
	for n := range 10_000 {
		if _, refused := l.Caller(&Request{"a", true, fmt.Sprint("user", n), "a"}); !refused {
			passed++
		}
	}
	if passed != 100 {
		t.Errorf("%d passed, want the workspace's 100", passed)
	}
	if n := l.identities.len(); n != 100 {
		t.Errorf("%d identities have a bucket, want 100: those that were refused need none", n)
	}
}

// TestParallelRequestsGetNoMore: many at a time get what the rate gives, in two buckets, with
// a clock that goes on meanwhile.
func TestParallelRequestsGetNoMore(t *testing.T) {
	l, clock := newLimiter(Config{Workspace: Rate{1000, 500}, Identity: Rate{400, 300}})
	var passed atomic.Int64
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			ask := by(Request{"a", true, fmt.Sprint("user", n%2), ""})(l)
			for range 5000 {
				if n == 0 {
					clock.advance(200 * time.Microsecond) // a second in all
				}
				if _, refused := ask(); !refused {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if most := int64(500 + 1000); passed.Load() > most {
		t.Errorf("%d passed, at most %d may", passed.Load(), most)
	}
	if most := int64(2 * (300 + 400)); passed.Load() > most {
		t.Errorf("%d passed of two users, at most %d may", passed.Load(), most)
	}
	clock.advance(time.Hour)
	if passed, _ := spent(1000, by(Request{"a", true, "user0", ""})(l)); passed != 300 {
		t.Errorf("%d of 1000 pass after a pause, want 300", passed)
	}
}

func BenchmarkCaller(b *testing.B) {
	l := New(Config{Workspace: Rate{1e9, 1e9}, Identity: Rate{1e9, 1e9}})
	b.ReportAllocs()
	var n atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		r := Request{fmt.Sprint("1v9zq4m2k7xc5t8", n.Add(1)), true, "system:serviceaccount:default:controller", "1v9zq4m2k7xc5t8"}
		for pb.Next() {
			if _, refused := l.Caller(&r); refused {
				b.Fatal("refused")
			}
		}
	})
}

// BenchmarkCallerRefused is a loop's, which many connections make in one workspace.
func BenchmarkCallerRefused(b *testing.B) {
	l := New(Config{Workspace: Rate{1e-9, 1}, Identity: Rate{1e9, 1e9}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := Request{"1v9zq4m2k7xc5t8", true, "system:serviceaccount:default:controller", "1v9zq4m2k7xc5t8"}
		for pb.Next() {
			l.Caller(&r)
		}
	})
}

func BenchmarkAddress(b *testing.B) {
	l := New(Config{Address: Rate{1e9, 1e9}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, refused := l.Address("[2001:db8:1:2::1]:54321"); refused {
				b.Fatal("refused")
			}
		}
	})
}

// TestPerKey: each key has a bucket of its own, and what is kept of many keys is bounded.
func TestPerKey(t *testing.T) {
	clock := &testClock{}
	k := NewPerKey(Rate{PerSecond: 2, Burst: 3}, clock.now)
	passed := func(key string) (n int) {
		for range 10 {
			if k.Allow(key) {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		key   string
		after time.Duration
		want  int
	}{{"a", 0, 3}, {"b", 0, 3}, {"a", 0, 0}, {"a", time.Second, 2}, {"a", time.Hour, 3}} {
		clock.advance(tt.after)
		if got := passed(tt.key); got != tt.want {
			t.Errorf("%s, %s later: %d of 10 pass, want %d", tt.key, tt.after, got, tt.want)
		}
	}
	for n := range 10 * maxKeys {
		k.Allow(strconv.Itoa(n))
	}
	if n := k.buckets.len(); n != maxKeys {
		t.Errorf("%d buckets are kept, want %d", n, maxKeys)
	}
}
