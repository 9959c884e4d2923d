package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn"
)

// patientAuthorizer asks root, whose answers it waits for as long as tests do.
func patientAuthorizer(t *testing.T, root *rootStandIn) *RootAuthorizer {
	t.Helper()
	a, err := newRootAuthorizer(root.config(""), nil, 2*stuck, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestCrowdLeavesRoomForReviews: whoever asks for much of the proxy's own pages, while
// root does not answer, holds half of the places for reviews; beyond that it is told to
// come again, and others get their pages.
func TestCrowdLeavesRoomForReviews(t *testing.T) {
	const requests = 100
	clusterOf := func(name string) map[string][]string {
		return map[string][]string{"authentication.kcp.io/cluster-name": {name}}
	}
	for name, tc := range map[string]struct {
		crowd         func(n string) *user.DefaultInfo
		waiting, sent int // requests, and reviews
	}{
		"users of one workspace": {
			crowd: func(n string) *user.DefaultInfo {
				return &user.DefaultInfo{Name: "crowd-" + n, Extra: clusterOf("2kd9")}
			},
			waiting: 32, sent: 8,
		},
		"credentials of one user": {
			crowd: func(n string) *user.DefaultInfo {
				return &user.DefaultInfo{Name: "crowd", Extra: map[string][]string{"authentication.kubernetes.io/credential-id": {n}}}
			},
			waiting: 32, sent: 8,
		},
		"one review": {
			crowd:   func(string) *user.DefaultInfo { return &user.DefaultInfo{Name: "crowd"} },
			waiting: 64, sent: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := newRootStandIn(t, "", "carol")
			root.hold = make(chan struct{})
			release := sync.OnceFunc(func() { close(root.hold) })
			t.Cleanup(release)
			w := newWorld(t)
			w.shard(t, "shard-1", true, nil)
			w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
				who := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				u := &user.DefaultInfo{Name: who, Extra: clusterOf("another")}
				if n, ok := strings.CutPrefix(who, "crowd-"); ok {
					u = tc.crowd(n)
				}
				return &authn.Decision{User: u, Status: 200, Authenticator: "token"}
			}
			w.config.Pages.Authorizer = patientAuthorizer(t, root)
			f := w.front(t)
			get := func(c *http.Client, who string) (code int, retryAfter string) {
				r, _ := http.NewRequest(http.MethodGet, f.URL+"/metrics", nil)
				r.Header.Set("Authorization", "Bearer "+who)
				res, err := c.Do(r)
				if err != nil {
					t.Errorf("%s: %v", who, err)
					return 0, ""
				}
				_ = res.Body.Close()
				return res.StatusCode, res.Header.Get("Retry-After")
			}
			crowd := f.crowd(t, false, requests, tc.waiting)[0]
			var refused, forbidden, other atomic.Int64
			var wg sync.WaitGroup
			for n := range requests {
				wg.Go(func() {
					switch code, retryAfter := get(crowd, fmt.Sprint("crowd-", n)); {
					case code == http.StatusTooManyRequests && retryAfter != "":
						refused.Add(1)
					case code == http.StatusForbidden:
						forbidden.Add(1)
					default:
						other.Add(1)
					}
				})
			}
			asked := func() int {
				root.mu.Lock()
				defer root.mu.Unlock()
				return len(root.asked)
			}
			for deadline := time.Now().Add(stuck); refused.Load() != int64(requests-tc.waiting) || asked() != tc.sent; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) || other.Load() > 0 {
					t.Errorf("%d are refused, want %d; %d have another answer; root is asked %d times, want %d", refused.Load(), requests-tc.waiting, other.Load(), asked(), tc.sent)
					break
				}
			}
			c := f.client(t, false)
			for who, want := range map[string]int{"carol": http.StatusOK, "dave": http.StatusForbidden} {
				if code, _ := get(c, who); code != want {
					t.Errorf("somebody else: %s gets %d, want %d", who, code, want)
				}
			}
			if n := asked(); n != tc.sent+2 {
				t.Errorf("root is asked %d times, want %d", n, tc.sent+2)
			}
			release()
			wg.Wait()
			if n := forbidden.Load(); n != int64(tc.waiting) {
				t.Errorf("%d of the crowd get root's answer, want %d", n, tc.waiting)
			}
		})
	}
}

// TestReviewsAreKept: a yes counts for five minutes, a no for thirty seconds, for the
// same identity only; the cache holds little of an identity's size; a review that fails,
// or contradicts itself, allows nothing and is not kept.
func TestReviewsAreKept(t *testing.T) {
	root := newRootStandIn(t, "", "carol")
	clk := clocktesting.NewFakePassiveClock(time.Now())
	a, err := newRootAuthorizer(root.config(""), nil, reviewTimeout, clk)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(u *user.DefaultInfo, allowed, failed bool, reviews int) {
		t.Helper()
		if got, err := a.Authorize(context.Background(), u, "get", "/metrics"); got != allowed || (err != nil) != failed {
			t.Errorf("%s: %v, %v", u.Name, got, err)
		}
		if n := len(root.take()); n != reviews {
			t.Errorf("%s: root is asked %d times, want %d", u.Name, n, reviews)
		}
	}
	carol, dave := &user.DefaultInfo{Name: "carol"}, &user.DefaultInfo{Name: "dave", Groups: []string{strings.Repeat("g", 64<<10)}}
	ask(carol, true, false, 1)
	ask(dave, false, false, 1)
	for name, u := range map[string]*user.DefaultInfo{
		"uid":    {Name: "carol", UID: "1"},
		"group":  {Name: "carol", Groups: []string{"g"}},
		"groups": {Name: "carol", Groups: []string{"g", "h"}},
		"joined": {Name: "carol", Groups: []string{"g,h"}},
		"extra":  {Name: "carol", Extra: map[string][]string{"g": {"h"}}},
	} {
		t.Run(name, func(*testing.T) { ask(u, true, false, 1) })
	}
	if n, bytes := a.answers.Len(), a.answers.Bytes(); n != 7 || bytes > 7*512 {
		t.Errorf("%d answers take %d bytes", n, bytes)
	}
	clk.SetTime(clk.Now().Add(deniedFor - 1))
	ask(dave, false, false, 0)
	clk.SetTime(clk.Now().Add(1))
	ask(dave, false, false, 1)
	ask(carol, true, false, 0)
	clk.SetTime(clk.Now().Add(allowedFor - deniedFor - 1))
	ask(carol, true, false, 0)
	clk.SetTime(clk.Now().Add(1))
	root.mu.Lock()
	root.denied = true
	root.mu.Unlock()
	ask(carol, false, true, 1)
	root.mu.Lock()
	root.denied, root.fail = false, http.StatusForbidden
	root.mu.Unlock()
	ask(carol, false, true, 1)
	root.mu.Lock()
	root.fail = 0
	root.mu.Unlock()
	ask(carol, true, false, 1)
}
