package across

import (
	"context"
	"net/http"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/e2e/harness"
)

// homeShardDown: while the shard of an account's home is down, its token is
// 503 in other shards' workspaces; within the grace, good for those that it was
// good for before. What it has opened stays open: nobody can tell.
func homeShardDown(t *testing.T, shard *harness.Shard) {
	const grace = 25 * time.Second
	home, elsewhere := workspace(t, shard.Name), workspace(t, shardOne)
	bot, unseen := newAccount(t, home, "bot"), newAccount(t, home, "unseen")
	for _, a := range []account{bot, unseen} {
		grant(t, elsewhere, harness.Everything(), harness.User(a.global()))
	}
	graceful := proxyWith(t, "graceful", append(acrossArgs(), "--service-account-lookup-grace="+grace.String())...)
	ask := func(p *harness.Proxy, a account) error {
		return listSecrets(t.Context(), kubeOf(t, p.Token(a.token), elsewhere))
	}
	for _, p := range []*harness.Proxy{env.Proxy, graceful} {
		eventually(t, "the account's rights elsewhere", func(context.Context) error { return ask(p, bot) })
	}
	watch, err := kubeOf(t, env.Token(bot.token), elsewhere).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	check(t, err)
	t.Cleanup(watch.Stop)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range watch.ResultChan() { //nolint:revive // until it ends
		}
	}()

	check(t, ask(graceful, bot))
	known := time.Now() // the graceful proxy heard of the account not later
	shard.Kill()
	eventually(t, "503 without a grace", func(context.Context) error {
		if err := ask(env.Proxy, bot); status(err) != http.StatusServiceUnavailable {
			return &unexpected{err}
		}
		return nil
	})
	wantStatus(t, "an account that the shard was never asked about", ask(graceful, unseen), http.StatusServiceUnavailable)
	wantStatus(t, "garbage", ask(graceful, account{token: bot.token[:len(bot.token)-10] + "AAAAAAAAAA"}), http.StatusUnauthorized)
	within := 0
	for time.Since(known) < grace-5*time.Second { // the answer may be some seconds old
		if err := ask(graceful, bot); err != nil {
			t.Errorf("%v after the shard was known to be up, within the grace: %v", time.Since(known), err)
			break
		}
		within++
		time.Sleep(500 * time.Millisecond)
	}
	if within == 0 {
		t.Error("the grace was over before it could be tried")
	}
	eventually(t, "503 beyond the grace", func(context.Context) error {
		if err := ask(graceful, bot); status(err) != http.StatusServiceUnavailable {
			return &unexpected{err}
		}
		return nil
	})
	if passed := time.Since(known); passed > grace+30*time.Second {
		t.Errorf("the grace of %v lasted %v", grace, passed)
	}
	select {
	case <-ended:
		t.Error("the account's watch has ended, though nobody could tell whether it is gone")
	default:
	}
	wantStatus(t, "the administrator", listSecrets(t.Context(), kubeOf(t, env.Admin(), elsewhere)), http.StatusOK)

	check(t, shard.Start(t.Context()))
	for _, p := range []*harness.Proxy{env.Proxy, graceful} {
		eventually(t, "the account once its shard is back", func(context.Context) error { return ask(p, bot) })
	}
	grant(t, home, harness.AskWhoAmI(), rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: "bot"})
	eventually(t, "the account at home", func(ctx context.Context) error {
		_, err := env.Token(bot.token).WhoAmI(ctx, home.Path)
		return err
	})
}
