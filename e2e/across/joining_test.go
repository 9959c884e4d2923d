package across

import (
	"context"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"frontproxy/e2e/harness"
)

// TestShardThatJoinsAndGoes: what a shard that was added, and that goes down,
// changes for accounts that live there. No other test uses that shard: kcp gives
// up workspaces that are made on a shard while it starts.
func TestShardThatJoinsAndGoes(t *testing.T) {
	t.Parallel()
	shard, err := env.AddShard(t.Context(), "shard-2")
	check(t, err)
	t.Run("joins", func(t *testing.T) { tokensWorkOn(t, shard) })
	t.Run("goes", func(t *testing.T) { homeShardDown(t, shard) })
}

// tokensWorkOn: tokens of a shard that was added work without a restart.
func tokensWorkOn(t *testing.T, shard *harness.Shard) {
	home := workspace(t, shard.Name)
	bot := newAccount(t, home, "bot")
	grant(t, home, harness.AskWhoAmI(), rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "bot"})
	eventually(t, "an account of the new shard", func(ctx context.Context) error {
		_, err := env.Token(bot.token).WhoAmI(ctx, home.Path)
		return err
	})
}
