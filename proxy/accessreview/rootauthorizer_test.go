package accessreview

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/proxy/accessreview/accessreviewtest"
)

func TestRootAuthorizer(t *testing.T) {
	alice := &user.DefaultInfo{Name: "alice", UID: "u1", Groups: []string{"dev", "system:authenticated"},
		Extra: map[string][]string{"authentication.kcp.io/scopes": {"cluster:2kd9"}, "authentication.kcp.io/cluster-name": {"2kd9"}}}
	for _, path := range []string{"", "/base"} {
		for _, suffix := range []string{"", "/", "/clusters/root"} {
			root := accessreviewtest.NewRoot(t, path, "alice")
			a, err := NewRootAuthorizer(RootConfig{Kubeconfig: root.Config(path + suffix)})
			if err != nil {
				t.Fatal(err)
			}
			ok, err := a.Authorize(context.Background(), Access{User: alice, Verb: "get", Path: "/metrics"})
			if err != nil || !ok {
				t.Errorf("host %q: %v, %v", path+suffix, ok, err)
			}
			want := []authorizationv1.SubjectAccessReviewSpec{{
				NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
				User:                  "alice", UID: "u1", Groups: []string{"dev", "system:authenticated"},
				Extra: map[string]authorizationv1.ExtraValue{"authentication.kcp.io/scopes": {"cluster:2kd9"}, "authentication.kcp.io/cluster-name": {"2kd9"}},
			}}
			if diff := cmp.Diff(want, root.Take()); diff != "" {
				t.Errorf("host %q: reviews (-want +got):\n%s", path+suffix, diff)
			}
			if ok, err := a.Authorize(context.Background(), Access{User: alice, Verb: "get", Path: "/statusz"}); err != nil || !ok {
				t.Errorf("another path: %v, %v", ok, err)
			}
			if asked := root.Take(); len(asked) != 1 {
				t.Errorf("a path's answer counts for another: %+v", asked)
			}
		}
	}
	if _, err := NewRootAuthorizer(RootConfig{Kubeconfig: &rest.Config{Host: "https://x", TLSClientConfig: rest.TLSClientConfig{CAFile: "/does/not/exist"}}}); err == nil {
		t.Error("a missing CA file is no error")
	}
}

// TestReviewsAreKept: a yes counts for five minutes, a no for thirty seconds, for the
// same identity only; the cache holds little of an identity's size; a review that fails,
// or contradicts itself, allows nothing and is not kept.
func TestReviewsAreKept(t *testing.T) {
	root := accessreviewtest.NewRoot(t, "", "carol")
	clk := clocktesting.NewFakePassiveClock(time.Now())
	a, err := NewRootAuthorizer(RootConfig{Kubeconfig: root.Config(""), Clock: clk})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(u *user.DefaultInfo, allowed, failed bool, reviews int) {
		t.Helper()
		if got, err := a.Authorize(context.Background(), Access{User: u, Verb: "get", Path: "/metrics"}); got != allowed || (err != nil) != failed {
			t.Errorf("%s: %v, %v", u.Name, got, err)
		}
		if n := len(root.Take()); n != reviews {
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
	root.Deny(true)
	ask(carol, false, true, 1)
	root.Deny(false)
	root.Fail(http.StatusForbidden)
	ask(carol, false, true, 1)
	root.Fail(0)
	ask(carol, true, false, 1)
}

// TestNoWaitAuthorizesAtOnce: with NoWait, an answer that is known counts, and root is not
// waited for.
func TestNoWaitAuthorizesAtOnce(t *testing.T) {
	root := accessreviewtest.NewRoot(t, "", "alice")
	a, err := NewRootAuthorizer(RootConfig{Kubeconfig: root.Config("")})
	if err != nil {
		t.Fatal(err)
	}
	to := Access{User: &user.DefaultInfo{Name: "alice"}, Verb: "get", Path: "/metrics"}
	for _, step := range []struct{ noWait, allowed bool }{{true, false}, {false, true}, {true, true}} {
		to.NoWait = step.noWait
		if got, err := a.Authorize(t.Context(), to); got != step.allowed || (err == nil) != step.allowed {
			t.Errorf("NoWait %v: %v, %v, want %v", step.noWait, got, err, step.allowed)
		}
	}
}
