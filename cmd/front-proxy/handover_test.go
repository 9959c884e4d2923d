package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// awaitUser waits until the shard takes who sends the token for this user.
func (p *runningProxy) awaitUser(path, token, want string) {
	p.t.Helper()
	client, deadline := p.client(), time.Now().Add(30*time.Second)
	for {
		code, me := p.ask(client, path, token)
		if code == http.StatusOK && me.User == want {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("GET %s answers %d, user %q, want %q", path, code, me.User, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// statusz is the page in text.
func (p *runningProxy) statusz(token string) string {
	p.t.Helper()
	code, body := p.get("/statusz", token)
	if code != http.StatusOK {
		p.t.Fatalf("/statusz answers %d", code)
	}
	return string(body)
}

// TestConfigurationsChange: what tells whom to trust changes, breaks, goes and
// comes back, while tokens that are valid before and after come in without a
// pause, each of them new. Not one is lost.
func TestConfigurationsChange(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	k := i.kcp
	global, tenants, second, stranger := newIssuer(t), newIssuer(t), newIssuer(t), newIssuer(t)
	const rented, lent = "/clusters/root:tenant/api", "/clusters/root:second/api"
	for name, cluster := range map[string]string{"tenant": "tenant0000000001", "second": "second0000000001"} {
		k.Root.PutWorkspace("root", name, cluster, "root", name, nil)
		i.shard.PutCluster(cluster, "root:"+name, nil)
	}
	entry := func(s *issuertest.Issuer, edit func(entry, issuer standin.Object)) standin.Object {
		e := trusting(s)
		if edit != nil {
			edit(e, e["issuer"].(standin.Object))
		}
		return e
	}
	// A mark is an audience more: who comes with it is let in once the change is in use.
	mark := func(issuer standin.Object, mark string) {
		issuer["audiences"], issuer["audienceMatchPolicy"] = []string{"ws", mark}, "MatchAny"
	}
	broken := func(e, _ standin.Object) {
		e["claimValidationRules"] = []standin.Object{{"expression": "claims."}}
	}
	put := func(jwt ...standin.Object) { k.Root.PutConfiguration("root", "issuer", jwt...) }
	put(trusting(tenants))
	k.Root.PutConfiguration("root", "second", trusting(second))
	k.Root.PutType("root", "tenant", "issuer")
	k.Root.PutType("root", "second", "second")

	config := filepath.Join(t.TempDir(), "authn.yaml")
	configure := func(text string) {
		t.Helper()
		if err := os.WriteFile(config+".next", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(config+".next", config); err != nil {
			t.Fatal(err)
		}
	}
	configure(structured(global))
	tokens := filepath.Join(t.TempDir(), "tokens.csv")
	const reader = "token-of-prometheus"
	if err := os.WriteFile(tokens, []byte(reader+",prometheus,1,"+standin.MetricsReader+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := i.start("--authentication-config="+config, "--token-auth-file="+tokens, "--feature-gates=WorkspaceAuthentication=true")
	fresh := func(s *issuertest.Issuer, audience string) string {
		return s.Sign(issuertest.Claims{"sub": "dave", "aud": []string{audience}, "exp": time.Now().Add(time.Hour).Unix()})
	}
	visitors := []visitor{
		{name: "workspace, HTTP/2", path: rented, mint: func() string { return fresh(tenants, "ws") }},
		{name: "workspace, HTTP/1.1", path: rented, http1: true, mint: func() string { return fresh(tenants, "ws") }},
		{name: "workspace, the same token", path: rented, token: fresh(tenants, "ws")},
		{name: "global", path: "/clusters/root:team/api", mint: func() string { return fresh(global, "kcp") }},
	}
	p.await(p.client(), rented, visitors[2].token, http.StatusOK)
	p.await(p.client(), visitors[3].path, fresh(global, "kcp"), http.StatusOK)
	p.await(p.client(), lent, fresh(second, "ws"), http.StatusOK)
	watch := p.watch(rented, visitors[2].token)
	load := p.load(visitors...)
	states := func(state string, n int) {
		t.Helper()
		p.awaitMetric(reader, fmt.Sprintf("front_proxy_authentication_configurations{state=%q} %d", state, n))
	}

	used := func(mark string) {
		t.Helper()
		p.await(p.client(), rented, fresh(tenants, mark), http.StatusOK)
	}

	for _, change := range []struct {
		name  string
		times int
		do    func(t *testing.T, n int)
	}{
		{"audiences", 20, func(t *testing.T, n int) {
			put(entry(tenants, func(_, issuer standin.Object) { mark(issuer, fmt.Sprint("more-", n)) }))
			used(fmt.Sprint("more-", n))
		}},
		{"expressions", 20, func(t *testing.T, n int) {
			put(entry(tenants, func(e, issuer standin.Object) {
				e["claimValidationRules"] = []standin.Object{{"expression": fmt.Sprintf("claims.sub != '%d'", n)}}
				mark(issuer, fmt.Sprint("rule-", n))
			}))
			used(fmt.Sprint("rule-", n))
		}},
		{"the CA", 20, func(t *testing.T, n int) {
			put(entry(tenants, func(_, issuer standin.Object) {
				mark(issuer, fmt.Sprint("ca-", n))
				issuer["certificateAuthority"] = tenants.CAPEM() + strings.Repeat(stranger.CAPEM(), n%2)
			}))
			used(fmt.Sprint("ca-", n))
		}},
		{"the CA, of an issuer that takes longer than a request waits", 1, func(t *testing.T, _ int) {
			tenants.SetDelay(3 * time.Second) // for each of two documents
			defer tenants.SetDelay(0)
			put(entry(tenants, func(_, issuer standin.Object) {
				mark(issuer, "slow")
				issuer["certificateAuthority"] = tenants.CAPEM() + strings.Repeat(stranger.CAPEM(), 3)
			}))
			used("slow")
		}},
		{"the CA, twice at a time", 10, func(t *testing.T, n int) {
			for _, more := range []int{2, 1} {
				put(entry(tenants, func(_, issuer standin.Object) {
					mark(issuer, fmt.Sprint("again-", n, "-", more))
					issuer["certificateAuthority"] = tenants.CAPEM() + strings.Repeat(stranger.CAPEM(), more)
				}))
			}
			used(fmt.Sprint("again-", n, "-1"))
			put(trusting(tenants))
			p.await(p.client(), rented, fresh(tenants, fmt.Sprint("again-", n, "-1")), http.StatusUnauthorized)
		}},
		{"broken, told, mended", 5, func(t *testing.T, n int) {
			put(entry(tenants, broken))
			states("Broken", 1)
			if page := p.statusz(reader); !strings.Contains(page, "stays in use") || !strings.Contains(page, "issuer") {
				t.Errorf("statusz does not tell:\n%s", page)
			}
			load.passed(t, 40)
			put(entry(tenants, func(_, issuer standin.Object) { mark(issuer, fmt.Sprint("mended-", n)) }))
			states("Broken", 0)
			used(fmt.Sprint("mended-", n))
		}},
		{"beside an issuer that is down, one that hangs, and a configuration that is missing", 1, func(t *testing.T, _ int) {
			down, hangs := newIssuer(t), newIssuer(t)
			down.SetDown(true)
			hangs.SetDelay(time.Hour)
			put(trusting(down), trusting(tenants), trusting(hangs))
			k.Root.PutType("root", "tenant", "missing", "issuer")
			p.await(p.client(), rented, fresh(down, "ws"), http.StatusServiceUnavailable)
			states("Missing", 1)
			load.passed(t, 150) // metrics are scraped above while hangs is being read
			down.SetDown(false)
			p.await(p.client(), rented, fresh(down, "ws"), http.StatusOK)
			put(trusting(tenants))
			k.Root.PutType("root", "tenant", "issuer")
			states("Missing", 0)
		}},
		{"written without a change, and listed again", 20, func(t *testing.T, n int) {
			fetches := func() int {
				before := tenants.KeyFetches()
				put(trusting(tenants))
				k.Root.PutType("root", "tenant", "issuer")
				if n%5 == 0 {
					k.Root.Expire()
				}
				load.passed(t, 20)
				return tenants.KeyFetches() - before
			}
			// Keys are also read again every five minutes: what comes of the writing comes
			// the second time, too.
			if fetches() > 0 {
				if more := fetches(); more > 0 {
					t.Errorf("the keys were fetched %d times more", more)
				}
			}
		}},
		{"another configuration and another type removed and put back", 5, func(t *testing.T, _ int) {
			k.Root.RemoveConfiguration("root", "second")
			p.await(p.client(), lent, fresh(second, "ws"), http.StatusServiceUnavailable)
			k.Root.PutConfiguration("root", "second", trusting(second))
			p.await(p.client(), lent, fresh(second, "ws"), http.StatusOK)
			k.Root.RemoveType("root", "second")
			p.await(p.client(), lent, fresh(second, "ws"), http.StatusUnauthorized)
			k.Root.PutType("root", "second", "second")
			p.await(p.client(), lent, fresh(second, "ws"), http.StatusOK)
		}},
		{"the operator's CA, and rubbish in between", 5, func(t *testing.T, n int) {
			configure("rubbish")
			p.awaitMetric(reader, `front_proxy_config_last_reload_successful{source="authentication-config"} 0`)
			configure(strings.NewReplacer(fmt.Sprintf("%q", global.CAPEM()), fmt.Sprintf("%q", global.CAPEM()+strings.Repeat(stranger.CAPEM(), n%2+1)),
				"s0:", fmt.Sprintf("op-%d:", n)).Replace(structured(global)))
			p.awaitUser(visitors[3].path, fresh(global, "kcp"), fmt.Sprintf("op-%d:dave", n))
		}},
		{"the operator's file beside an issuer that is down", 1, func(t *testing.T, _ int) {
			down := newIssuer(t)
			down.SetDown(true)
			configure(structured(down, global)) // s1: is global's
			p.awaitUser(visitors[3].path, fresh(global, "kcp"), "s1:dave")
			p.await(p.client(), visitors[3].path, fresh(down, "kcp"), http.StatusServiceUnavailable)
			configure(structured(global))
			p.awaitUser(visitors[3].path, fresh(global, "kcp"), "s0:dave")
		}},
	} {
		t.Run(change.name, func(t *testing.T) {
			before := load.asked.Load()
			for n := range change.times {
				change.do(t, n)
			}
			load.passed(t, 60)
			load.none(t, change.name)
			select {
			case <-watch:
				t.Error("the watch has ended")
			default:
			}
			t.Logf("%d times, %d requests, none lost", change.times, load.asked.Load()-before)
		})
	}
	load.end()
	load.none(t, "at the end") // those that were under way, too
}

// TestIssuerDownAfterItWasReady: tokens by its keys go on, also those never seen
// before; one by a key that nobody knows is undecided, not refused.
func TestIssuerDownAfterItWasReady(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	global, tenants, stranger := newIssuer(t), newIssuer(t), newIssuer(t)
	i.kcp.Root.PutConfiguration("root", "issuer", trusting(tenants))
	i.kcp.Root.PutType("root", "tenant", "issuer")
	i.kcp.Root.PutWorkspace("root", "tenant", "tenant0000000001", "root", "tenant", nil)
	i.shard.PutCluster("tenant0000000001", "root:tenant", nil)
	config := filepath.Join(t.TempDir(), "authn.yaml")
	if err := os.WriteFile(config, []byte(structured(global)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := i.start("--authentication-config="+config, "--feature-gates=WorkspaceAuthentication=true")
	for _, tt := range []struct {
		name, path, audience string
		issuer               *issuertest.Issuer
	}{
		{"workspace", "/clusters/root:tenant/api", "ws", tenants},
		{"global", "/clusters/root:team/api", "kcp", global},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := p.client()
			sign := func(n int, opts ...issuertest.SignOption) string {
				return tt.issuer.Sign(issuertest.Claims{"sub": fmt.Sprint("user-", n), "aud": []string{tt.audience}}, opts...)
			}
			p.await(client, tt.path, sign(0), http.StatusOK)
			tt.issuer.SetDown(true)
			defer tt.issuer.SetDown(false)
			for n := range 30 {
				if code, _ := p.ask(client, tt.path, sign(n)); code != http.StatusOK {
					t.Fatalf("token %d by a known key is answered %d", n, code)
				}
				if code, _ := p.ask(client, tt.path, sign(n, issuertest.KeyID(fmt.Sprint("unknown-", n)))); code != http.StatusServiceUnavailable {
					t.Fatalf("token %d by an unknown key is answered %d, want 503", n, code)
				}
				if code, _ := p.ask(client, tt.path, sign(n, issuertest.KeyOf(stranger))); code != http.StatusUnauthorized {
					t.Fatalf("forged token %d is answered %d, want 401", n, code)
				}
			}
			tt.issuer.SetDown(false)
			tt.issuer.RotateKeeping()
			p.await(client, tt.path, sign(0), http.StatusOK)
		})
	}
}
