package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"frontproxy/e2e/harness"
)

// Whatever changes in kcp takes effect without a restart.

func TestTypeIsEdited(t *testing.T) {
	t.Parallel()
	issuerA, issuerB := newIssuer(t), newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuerA))
	o.configure("b", trust(issuerB))
	kind := o.kind("team") // no configuration at first
	ws := o.workspace("team", kind, harness.RootShard)
	ada, bob := env.Token(token(issuerA, "ada@example.com")), env.Token(token(issuerB, "bob@example.com"))
	wantStatus(t, ada, ws.Path, http.StatusUnauthorized)

	edit := func(names ...string) {
		t.Helper()
		var refs []string
		for _, n := range names {
			refs = append(refs, `{"name":"`+n+`"}`)
		}
		check(t, env.Admin().Patch(t.Context(), o.Path, harness.WorkspaceTypes, kind.Name,
			`{"spec":{"authenticationConfigurations":[`+strings.Join(refs, ",")+`]}}`))
	}
	edit("a")
	eventuallyIn(t, ada, ws.Path)
	wantStatus(t, bob, ws.Path, http.StatusUnauthorized)
	edit("a", "b")
	eventuallyIn(t, bob, ws.Path)
	wantStatus(t, ada, ws.Path, http.StatusCreated)
	edit("b")
	eventuallyStatus(t, ada, ws.Path, http.StatusUnauthorized)
	wantStatus(t, bob, ws.Path, http.StatusCreated)
	edit()
	eventuallyStatus(t, bob, ws.Path, http.StatusUnauthorized)
}

func TestConfigurationIsChangedAndRemoved(t *testing.T) {
	t.Parallel()
	issuerA, issuerB := newIssuer(t), newIssuer(t)
	o := newOrg(t, harness.RootShard)
	kind := o.kind("team", "later") // names what does not exist yet
	ws := o.workspace("team", kind, shardOne)
	ada, bob := env.Token(token(issuerA, "ada@example.com")), env.Token(token(issuerB, "bob@example.com"))
	eventuallyStatus(t, ada, ws.Path, http.StatusServiceUnavailable) // cannot tell

	o.configure("later", trust(issuerA))
	eventuallyIn(t, ada, ws.Path)
	patch := func(patch string) {
		t.Helper()
		check(t, env.Admin().Patch(t.Context(), o.Path, harness.AuthConfigurations, "later", patch))
	}

	patch(fmt.Sprintf(`{"spec":{"jwt":[{"issuer":{"url":%q,"audiences":[%q],"certificateAuthority":%q},"claimMappings":{"username":{"claim":"email","prefix":"new:"}}}]}}`,
		issuerA.URL(), audience, issuerA.CAPEM()))
	eventually(t, "the new prefix", func(ctx context.Context) error {
		got, err := ada.WhoAmI(ctx, ws.Path)
		if err == nil && got.Username != "new:ada@example.com" {
			return fmt.Errorf("the user is %q", got.Username)
		}
		return err
	})

	patch(fmt.Sprintf(`{"spec":{"jwt":[{"issuer":{"url":%q,"audiences":[%q],"certificateAuthority":%q},"claimMappings":{"username":{"claim":"email","prefix":""}}}]}}`,
		issuerB.URL(), audience, issuerB.CAPEM()))
	eventuallyIn(t, bob, ws.Path)
	eventuallyStatus(t, ada, ws.Path, http.StatusUnauthorized)

	check(t, env.Admin().Delete(t.Context(), o.Path, harness.AuthConfigurations, "later"))
	eventuallyStatus(t, bob, ws.Path, http.StatusServiceUnavailable)
	o.configure("later", trust(issuerB))
	eventuallyIn(t, bob, ws.Path)
}

func TestWorkspaceIsDeletedAndMadeAgain(t *testing.T) {
	t.Parallel()
	issuerA, issuerB := newIssuer(t), newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuerA))
	o.configure("b", trust(issuerB))
	kindA, kindB := o.kind("type-a", "a"), o.kind("type-b", "b")
	ws := o.workspace("again", kindA, harness.RootShard)
	ada, bob := env.Token(token(issuerA, "ada@example.com")), env.Token(token(issuerB, "bob@example.com"))
	eventuallyIn(t, ada, ws.Path)

	check(t, env.Admin().Delete(t.Context(), o.Path, harness.Workspaces, "again"))
	for _, name := range []string{ws.Path, ws.Cluster} {
		eventuallyStatus(t, ada, name, http.StatusForbidden)
	}
	eventually(t, "the workspace to be gone", func(ctx context.Context) error {
		if err := env.Admin().Get(ctx, o.Path, harness.Workspaces, "again", nil); status(err) != http.StatusNotFound {
			return unexpected{got: status(err), want: http.StatusNotFound, err: err}
		}
		return nil
	})
	again := o.workspace("again", kindB, shardOne) // another type, another shard
	eventuallyIn(t, bob, again.Path)
	wantIdentity(t, bob, again.Path, identity(again, "oidc:bob@example.com"))
	wantStatus(t, ada, again.Path, http.StatusUnauthorized)
	wantStatus(t, ada, ws.Cluster, http.StatusForbidden)
}

// A shard that is stopped makes its workspaces unavailable and no others, also
// for a proxy that starts meanwhile; when it comes back, so do they. Not
// parallel: nothing else runs meanwhile.
func TestShardStopsAndStarts(t *testing.T) {
	issuer := newIssuer(t)
	o := newOrg(t, harness.RootShard)
	o.configure("a", trust(issuer))
	kind := o.kind("team", "a")
	here, there := o.workspace("here", kind, harness.RootShard), o.workspace("there", kind, shardOne)
	jwt := token(issuer, "ada@example.com")
	ada := env.Token(jwt)
	eventuallyIn(t, ada, here.Path)
	eventuallyIn(t, ada, there.Path)

	shard := env.Shard(shardOne)
	shard.Stop()
	answer := whoami(t, "h2", there.Path, http.Header{"Authorization": {"Bearer " + jwt}})
	if answer.status != http.StatusServiceUnavailable || answer.header.Get("Retry-After") == "" ||
		!strings.Contains(string(answer.body), shardOne) || strings.Contains(string(answer.body), "127.0.0.1") {
		t.Errorf("shard stopped: %s, Retry-After %q; want 503 with one, the shard's name and no address", answer, answer.header.Get("Retry-After"))
	}
	wantStatus(t, ada, here.Path, http.StatusCreated)
	check(t, env.Admin().Healthy(t.Context(), "/livez"))

	check(t, shard.Start(t.Context()))
	eventuallyIn(t, ada, there.Path)
	wantIdentity(t, ada, there.Path, identity(there, "oidc:ada@example.com"))
	later := o.workspace("later", kind, shardOne) // its watches run again
	eventuallyIn(t, ada, later.Path)
	later = o.workspace("later-here", kind, harness.RootShard)
	eventuallyIn(t, ada, later.Path)
}

// A proxy that has just become ready knows what there is: no user is refused
// only because it has not looked yet. Not parallel: see above.
func TestProxyRestarts(t *testing.T) {
	issuer := newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuer))
	kind := o.kind("team", "a")
	ws := o.workspace("team", kind, shardOne)
	ada := env.Token(token(issuer, "ada@example.com"))
	eventuallyIn(t, ada, ws.Path)

	check(t, env.Proxy.Stop())
	check(t, env.Proxy.Start(t.Context()))
	for _, cluster := range []string{ws.Path, ws.Cluster} {
		if _, err := env.Admin().WhoAmI(t.Context(), cluster); err != nil {
			t.Errorf("the administrator at %s right after the proxy was ready: %v", cluster, err)
		}
		// The issuer may still be unread, which is 503; never 401 or 403.
		if _, err := ada.WhoAmI(t.Context(), cluster); err != nil && status(err) != http.StatusServiceUnavailable {
			t.Errorf("the user at %s right after the proxy was ready: %v", cluster, err)
		}
	}
	eventuallyIn(t, ada, ws.Path)
}

// With the gate off a type's users are nobody, and everything else works.
func TestGateOff(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	o := newOrg(t, shardOne)
	o.configure("a", trust(issuer))
	ws := o.workspace("team", o.kind("team", "a"), shardOne)
	jwt := token(issuer, "ada@example.com")
	eventuallyIn(t, env.Token(jwt), ws.Path)

	off, err := env.NewProxy("proxy-gate-off", harness.ProxyOptions{WithoutWorkspaceAuthentication: true})
	check(t, err)
	t.Cleanup(func() { check(t, off.Stop()) })
	check(t, off.Start(t.Context()))
	wantStatus(t, off.Token(jwt), ws.Path, http.StatusUnauthorized)
	wantStatus(t, off.Admin(), ws.Path, http.StatusCreated)
	wantStatus(t, off.Admin(), "root", http.StatusCreated)
}

// Health says how the shards do, and neither which there are nor where.
func TestHealth(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/livez/ping": "ok", "/readyz?verbose": "[+]shards ok", "/metrics": ""} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, env.Proxy.URL+path, nil)
		check(t, err)
		transport := &http.Transport{TLSClientConfig: clientTLS(), ForceAttemptHTTP2: true}
		response, err := transport.RoundTrip(request)
		check(t, err)
		body, err := io.ReadAll(response.Body)
		check(t, err)
		_ = response.Body.Close()
		transport.CloseIdleConnections()
		if path == "/metrics" {
			if response.StatusCode != http.StatusUnauthorized && response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusNotFound {
				t.Errorf("%s without credentials: status %d, want none of it", path, response.StatusCode)
			}
			continue
		}
		if response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) || strings.Contains(string(body), "127.0.0.1") || strings.Contains(string(body), shardOne) {
			t.Errorf("%s: status %d, want 200, %q and neither an address nor a shard: %s", path, response.StatusCode, want, body)
		}
	}
}
