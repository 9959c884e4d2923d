package across

import (
	"context"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"frontproxy/e2e/harness"
)

// TestShardThatJoins: tokens of a shard that was added work without a restart.
// It runs before the others, since it changes the environment.
func TestShardThatJoins(t *testing.T) {
	_, err := env.AddShard(t.Context(), "shard-2")
	check(t, err)
	home := workspace(t, "shard-2")
	bot := newAccount(t, home, "bot")
	grant(t, home, harness.AskWhoAmI(), rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "bot"})
	eventually(t, "an account of the new shard", func(ctx context.Context) error {
		_, err := env.Token(bot.token).WhoAmI(ctx, home.Path)
		return err
	})
}
