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

	"frontproxy/authn"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/accessreview/accessreviewtest"
)

// patientAuthorizer asks root, whose answers it waits for as long as tests do.
func patientAuthorizer(t *testing.T, root *accessreviewtest.Root) *accessreview.RootAuthorizer {
	t.Helper()
	a, err := accessreview.NewRootAuthorizer(accessreview.RootConfig{Kubeconfig: root.Config(""), Timeout: 2 * stuck})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestOneCallersReviewsLeaveRoomForOthers: whoever asks for much of the proxy's own pages, while
// root does not answer, holds half of the places for reviews; beyond that it is told to
// come again, and others get their pages.
func TestOneCallersReviewsLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
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
			root := accessreviewtest.NewRoot(t, "", "carol")
			release := root.Hold(t)
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
			for deadline := time.Now().Add(stuck); refused.Load() != int64(requests-tc.waiting) || root.Asked() != tc.sent; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) || other.Load() > 0 {
					t.Errorf("%d are refused, want %d; %d have another answer; root is asked %d times, want %d", refused.Load(), requests-tc.waiting, other.Load(), root.Asked(), tc.sent)
					break
				}
			}
			c := f.client(t, false)
			for who, want := range map[string]int{"carol": http.StatusOK, "dave": http.StatusForbidden} {
				if code, _ := get(c, who); code != want {
					t.Errorf("somebody else: %s gets %d, want %d", who, code, want)
				}
			}
			if n := root.Asked(); n != tc.sent+2 {
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
