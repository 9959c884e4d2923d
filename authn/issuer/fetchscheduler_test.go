package issuer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/polltest"
)

// dead has owner name n issuers that never answer, each another.
func dead(t *testing.T, p *Pool, s *issuertest.Issuer, owner string, n int) {
	t.Helper()
	for i := range n {
		_, release, err := p.Acquire(IssuerRef{URL: s.URL(), DiscoveryURL: fmt.Sprintf("%s/%s/%d", s.URL(), owner, i), CA: s.CAPEM()}, owner)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
	}
}

// neverAnswering serves nobody within a test.
func neverAnswering(t *testing.T) *issuertest.Issuer {
	s := issuertest.Serve(t, issuertest.Options{})
	s.SetDelay(time.Hour)
	return s
}

// fetchesByClass is how many fetches of each class are under way.
func fetchesByClass(p *Pool) [fetchClasses]int {
	p.scheduler.mu.Lock()
	defer p.scheduler.mu.Unlock()
	return p.scheduler.inUse
}

// waitingIn is how many issuers wait for a slot.
func waitingIn(p *Pool) int {
	p.scheduler.mu.Lock()
	defer p.scheduler.mu.Unlock()
	return len(p.scheduler.waiting)
}

// The hostile owners' shares are used up for the whole test; that they name the
// victim's issuer too holds it up neither at first nor when its keys change.
func TestBusyOwnersDoNotDelayASharedIssuer(t *testing.T) {
	slow, s := neverAnswering(t), issuertest.Serve(t, issuertest.Options{})
	p := running(t, Config{Timeout: time.Hour, Wait: 20 * time.Second})
	for n := range 9 {
		dead(t, p, slow, fmt.Sprint("hostile-", n), 24)
	}
	polltest.Until(t, "the hostile owners' shares are used up", func() bool { return fetchesByClass(p)[firstFetch]+waitingIn(p) == 9*24 })
	for n := range 9 { // they were there first
		_, release, err := p.Acquire(refOf(s), fmt.Sprint("hostile-", n))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
	}
	i, release, err := p.Acquire(refOf(s), "victim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	if err := verify(i, s.Sign(nil)); err != nil {
		t.Fatal(err)
	}
	s.Rotate()
	if err := verify(i, s.Sign(nil)); err != nil {
		t.Error(err)
	}
}

// Those who share nothing with a stranger cannot use up what all share.
func TestManyOwnersLeaveRoomForAStranger(t *testing.T) {
	slow, s := neverAnswering(t), issuertest.Serve(t, issuertest.Options{})
	p := running(t, Config{Timeout: time.Hour, Wait: 20 * time.Second})
	for n := range 80 {
		dead(t, p, slow, fmt.Sprint("hostile-", n), 8)
	}
	polltest.Until(t, "all have come", func() bool { return fetchesByClass(p)[firstFetch]+waitingIn(p) == 80*8 })
	i, release, err := p.Acquire(refOf(s), "stranger")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	if err := verify(i, s.Sign(nil)); err != nil {
		t.Fatal(err)
	}
}

// slots asks for n slots of an owner and returns those who got one.
func slots(l *fetchScheduler, s fetchClass, owner string, n int) (got []*waiter) {
	for range n {
		if w := l.join(s, []string{owner}); isGranted(w) {
			got = append(got, w)
		}
	}
	return got
}

func isGranted(w *waiter) bool {
	select {
	case <-w.granted:
		return true
	default:
		return false
	}
}

func TestFetchesAreSharedOut(t *testing.T) {
	type ask struct {
		class  fetchClass
		owners int // each asks for each
		each   int
	}
	for _, tt := range []struct {
		name string
		asks []ask
		want [fetchClasses]int
	}{
		{"one owner", []ask{{firstFetch, 1, 10}}, [3]int{0, 4, 0}},
		{"one owner's failing ones", []ask{{afterFailure, 1, 10}}, [3]int{2, 0, 0}},
		{"many failing owners", []ask{{afterFailure, 100, 4}}, [3]int{16, 0, 0}},
		{"many owners of new issuers", []ask{{firstFetch, 100, 4}}, [3]int{0, 48, 0}},
		{"new ones after failing ones", []ask{{afterFailure, 100, 4}, {firstFetch, 100, 4}}, [3]int{16, 32, 0}},
		{"those that respond have a place", []ask{{afterFailure, 100, 4}, {firstFetch, 100, 4}, {afterSuccess, 200, 4}}, [3]int{16, 32, 16}},
		{"those that respond come first", []ask{{afterSuccess, 200, 4}, {afterFailure, 300, 4}}, [3]int{0, 0, 64}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newFetchScheduler(64, 4)
			for _, a := range tt.asks {
				for n := range a.owners {
					slots(l, a.class, fmt.Sprint(a.class, "-", n), a.each)
				}
			}
			if diff := cmp.Diff(tt.want, l.inUse); diff != "" {
				t.Errorf("under way, by class (-want +got):\n%s", diff)
			}
		})
	}
}

// What comes free goes round: who has none under way first, and of these who
// had none for longest.
func TestOwnersTakeTurns(t *testing.T) {
	l := newFetchScheduler(4, 4)
	held := slots(l, afterSuccess, "a", 1)
	for _, owner := range []string{"b", "c", "d"} {
		held = append(held, slots(l, afterSuccess, owner, 1)...)
	}
	var all []*waiter
	for _, owner := range []string{"a", "a", "a", "b", "b", "stranger"} {
		all = append(all, l.join(afterSuccess, []string{owner}))
	}
	var order []string
	release := func(w *waiter) (next *waiter) {
		before := map[*waiter]bool{}
		for _, w := range all {
			before[w] = isGranted(w)
		}
		l.release(w)
		for _, w := range all {
			if isGranted(w) && !before[w] {
				order, next = append(order, w.owner), w
			}
		}
		return next
	}
	for w := held[0]; w != nil; { // a's, then whoever came next
		w = release(w)
	}
	release(held[2])
	release(held[3])
	// b has one under way all the time, and more room is needed for its second.
	if diff := cmp.Diff([]string{"a", "stranger", "a", "a", "b"}, order); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
}

// A waiter takes the first of its owners' shares that has room, also a new
// owner's, and who gives up holds nothing.
func TestFetchFollowsItsOwners(t *testing.T) {
	l := newFetchScheduler(16, 1)
	busy := slots(l, afterSuccess, "busy", 1)
	w := l.join(afterSuccess, []string{"busy"})
	if isGranted(w) {
		t.Fatal("a second slot of one")
	}
	l.setOwners(w, []string{"busy", "new"})
	if !isGranted(w) || w.owner != "new" {
		t.Fatalf("charged to %q, granted %t", w.owner, isGranted(w))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	given := l.join(afterSuccess, []string{"busy", "new"})
	if _, err := l.wait(ctx, given); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	l.release(busy[0])
	l.release(w)
	if isGranted(given) || sum(l.inUse[:]) != 0 || len(l.busy)+len(l.waiting)+len(l.served) != 0 {
		t.Errorf("left: %+v", l)
	}
}

func TestOwnersIssuersAreBounded(t *testing.T) {
	p := NewPool(Config{})
	ref := func(n int) IssuerRef { return IssuerRef{URL: fmt.Sprintf("https://issuer.example/%d", n)} }
	var releases []func()
	for n := range MaxOwnersIssuers {
		_, release, err := p.Acquire(ref(n), "greedy")
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	acquire := func(n int, owner string) error {
		_, release, err := p.Acquire(ref(n), owner)
		if err == nil {
			releases = append(releases, release)
		}
		return err
	}
	if err := acquire(0, "greedy"); err != nil {
		t.Errorf("one it has: %v", err)
	}
	if err := acquire(MaxOwnersIssuers, "greedy"); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	if err := acquire(MaxOwnersIssuers, "other"); err != nil {
		t.Errorf("another owner's: %v", err)
	}
	if err := acquire(MaxOwnersIssuers, "greedy"); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more, which another has: %v", err)
	}
	releases[1]()
	if err := acquire(MaxOwnersIssuers, "greedy"); err != nil {
		t.Errorf("after it gave one back: %v", err)
	}
	for _, release := range releases {
		release()
	}
	if len(p.owned)+len(p.issuers) != 0 {
		t.Errorf("left: %d owners, %d issuers", len(p.owned), len(p.issuers))
	}
}
