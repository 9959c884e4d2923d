package authn

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
)

// waitingToken waits for an issuer that never answers, for a member's time.
type waitingToken struct{ name string }

func (w waitingToken) Name() string { return w.name }

func (w waitingToken) AuthenticateToken(ctx context.Context, _ token.Token) (user.Info, time.Time, error) {
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, time.Time{}, fmt.Errorf("%w: still waiting", token.ErrUndecided)
}

// TestDecideDeadline: however many authenticators of a type share a token's
// issuer, it waits for them for a bounded time in all.
func TestDecideDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		waiting  int
		last     token.Authenticator // asked after them; nil: none
		status   int
		wait     time.Duration
		verdicts int
	}{
		"one":           {waiting: 1, status: http.StatusServiceUnavailable, wait: 5 * time.Second, verdicts: 1},
		"two":           {waiting: 2, status: http.StatusServiceUnavailable, wait: 10 * time.Second, verdicts: 2},
		"all there are": {waiting: 256, status: http.StatusServiceUnavailable, wait: workspaceWait, verdicts: 256},
		"one that need not wait, at the end": {
			waiting: 255, status: http.StatusOK, wait: workspaceWait,
			last: fakeToken{name: "good", users: map[string]user.Info{jwtOf(iss): &user.DefaultInfo{Name: "alice"}}},
		},
		"one that refuses at the end": {
			waiting: 255, status: http.StatusServiceUnavailable, wait: workspaceWait, verdicts: 256,
			last: fakeToken{name: "good", users: map[string]user.Info{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var members []token.Authenticator
				for n := range tc.waiting {
					members = append(members, waitingToken{fmt.Sprint("waits-", n)})
				}
				if tc.last != nil {
					members = append(members, tc.last)
				}
				a, err := New(Config{Types: fakeTypes{types: &workspacetypes.TypeAuthenticators{ByIssuer: map[string][]token.Authenticator{iss: members}}}})
				if err != nil {
					t.Fatal(err)
				}
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Set("Authorization", "Bearer "+jwtOf(iss))
				start := time.Now()
				d := a.Decide(r.Context(), requestOf(r, &index.Target{Cluster: "c1", Type: index.Type{Cluster: "root", Name: "team"}}))
				if d.Status != tc.status || len(d.Verdicts) != tc.verdicts {
					t.Errorf("status %d with %d verdicts, want %d with %d", d.Status, len(d.Verdicts), tc.status, tc.verdicts)
				}
				if waited := time.Since(start); waited != tc.wait {
					t.Errorf("waited %s, want %s", waited, tc.wait)
				}
			})
		})
	}
}

// TestNoWaitDecidesAtOnce: with NoWait, an issuer that never answers is undecided at once, and
// who need not be asked is admitted.
func TestNoWaitDecidesAtOnce(t *testing.T) {
	known := fakeToken{name: "known", users: map[string]user.Info{jwtOf(iss): &user.DefaultInfo{Name: "alice"}}}
	for name, tc := range map[string]struct {
		members []token.Authenticator
		status  int
	}{
		"nobody knows the token":           {[]token.Authenticator{waitingToken{"waits"}}, http.StatusServiceUnavailable},
		"an authenticator knows the token": {[]token.Authenticator{waitingToken{"waits"}, known}, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, err := New(Config{Types: fakeTypes{types: &workspacetypes.TypeAuthenticators{ByIssuer: map[string][]token.Authenticator{iss: tc.members}}}})
				if err != nil {
					t.Fatal(err)
				}
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Set("Authorization", "Bearer "+jwtOf(iss))
				q := requestOf(r, &index.Target{Cluster: "c1", Type: index.Type{Cluster: "root", Name: "team"}})
				q.NoWait = true
				start := time.Now()
				d := a.Decide(r.Context(), q)
				if waited := time.Since(start); d.Status != tc.status || waited != 0 {
					t.Errorf("status %d after %s, want %d at once", d.Status, waited, tc.status)
				}
			})
		})
	}
}
