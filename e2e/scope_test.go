package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"frontproxy/e2e/harness"
)

// A few tokens, each at many workspaces at once: every answer is about its own
// workspace and user. (A workspace takes kcp most of a second on two cores; the
// same with 1,000 is a test of the whole proxy with stand-in shards.)
func TestEachRequestHasItsOwnScope(t *testing.T) {
	t.Parallel()
	const workspaces, users, rounds = 50, 3, 5
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	kind := o.kind("team", "a")
	all := make([]harness.Workspace, workspaces)
	begin := time.Now()
	const makers = 5
	inParallel(t, makers, func(ctx context.Context, maker int) {
		for i := maker; i < workspaces; i += makers {
			ws, err := o.makeWorkspace(ctx, fmt.Sprintf("ws-%d", i), kind, []string{harness.RootShard, shardOne}[i%2])
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = ws
		}
	})
	if t.Failed() {
		return
	}
	t.Logf("%d workspaces made in %s", workspaces, time.Since(begin))
	var clients []*harness.Client
	for i := range users {
		clients = append(clients, env.Token(token(issuer, fmt.Sprintf("user-%d@example.com", i))))
	}
	for _, ws := range all {
		eventuallyIn(t, clients[0], ws.Path)
	}

	inParallel(t, workspaces*users, func(ctx context.Context, n int) {
		ws, user := all[n%workspaces], n/workspaces
		for range rounds {
			got, err := clients[user].WhoAmI(ctx, ws.Cluster)
			if err != nil {
				t.Errorf("user-%d in %s: %v", user, ws.Path, err)
				return
			}
			compare(t, ws.Path, got, identity(ws, fmt.Sprintf("oidc:user-%d@example.com", user)))
		}
	})
}
