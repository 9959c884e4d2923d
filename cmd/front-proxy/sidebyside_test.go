package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// otherBuild is the environment variable with the path of another build of the
// program, for TestInstancesSideBySide to run as the older instance.
const otherBuild = "FRONT_PROXY_OTHER_BUILD"

// TestInstancesSideBySide: an instance with WorkspaceAuthentication and one without
// it, in front of one kcp, as during a rollout: they agree on everybody whom both
// know, only the gated one knows users of workspace types, both see changes, and
// replacing one, forth and back, ends no watch at the other. With
// FRONT_PROXY_OTHER_BUILD the one without the gate is that build.
func TestInstancesSideBySide(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	issuer := newIssuer(t)
	k.Root.PutConfiguration("root", "auth", trusting(issuer))
	k.Root.PutType("root", "team", "auth")
	put := func(name string) {
		k.Root.PutWorkspace("root", name, "cluster0"+name, "root", "team", nil)
		k.Root.PutCluster("cluster0"+name, "root:team", nil)
	}
	put("one")
	pair, err := k.ClientCA.Client(t.TempDir(), "alice", "devs")
	if err != nil {
		t.Fatal(err)
	}
	alice, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	tokens := "--token-auth-file=" + file(t, "tokens.csv", []byte("token-of-frank,frank,7,\"ops,kcp\"\n"))
	const gate = "--feature-gates=WorkspaceAuthentication=true"
	oldArgs, oldURL := arguments(t, k)
	newArgs, newURL := arguments(t, k)
	oldArgs, newArgs = append(oldArgs, tokens, "--shutdown-timeout=10s"), append(newArgs, tokens, gate)

	older := startOther(t, k, oldURL, oldArgs)
	newer := startProxy(t, k, newURL, newArgs)
	bob := issuer.Sign(issuertest.Claims{"sub": "bob", "aud": []string{"ws"}, "groups": []string{"devs"}})
	newer.await(newer.client(), "/clusters/root:one/api", bob, http.StatusOK)

	agree := func(when, path string) {
		t.Helper()
		for _, who := range []struct {
			name, token string
			certs       []tls.Certificate
		}{{"token", "token-of-frank", nil}, {"certificate", "", []tls.Certificate{alice}}} {
			older.await(older.client(who.certs...), path, who.token, http.StatusOK)
			newer.await(newer.client(who.certs...), path, who.token, http.StatusOK)
			_, atOld := older.ask(older.client(who.certs...), path, who.token)
			_, atNew := newer.ask(newer.client(who.certs...), path, who.token)
			for _, header := range []string{"Audit-Id", "Host"} { // each request's, each instance's own
				delete(atOld.Header, header)
				delete(atNew.Header, header)
			}
			if diff := cmp.Diff(atOld, atNew); diff != "" || atOld.User == "" {
				t.Errorf("%s, %s: the shard sees (-old +new):\n%s", when, who.name, diff)
			}
		}
	}
	agree("side by side", "/clusters/root:one/api")
	if code, _ := older.ask(older.client(), "/clusters/root:one/api", bob); code != http.StatusUnauthorized {
		t.Errorf("without the gate a user of a workspace type gets %d, want 401", code)
	}
	put("two")
	agree("a new workspace", "/clusters/root:two/api")
	newer.await(newer.client(), "/clusters/root:two/api", bob, http.StatusOK)

	atOld := make(chan error, 1)
	older.openWatch(older.client(), "/clusters/root:one/api/v1/pods", "token-of-frank", func(err error) { atOld <- err })
	frank, bobs := newer.watchAs(newer.client(), "/clusters/root:one/api/v1/pods", "token-of-frank"), newer.watchAs(newer.client(), "/clusters/root:one/api/v1/pods", bob)
	open := func(when string) {
		t.Helper()
		select {
		case <-frank:
			t.Errorf("%s: the operator's user's watch at the other instance has ended", when)
		case <-bobs:
			t.Errorf("%s: the workspace's user's watch at the other instance has ended", when)
		default:
		}
	}
	if err := older.stop(); err != nil {
		t.Errorf("the old instance ended with %v", err)
	}
	if err := <-atOld; err != nil {
		t.Errorf("a watch at the instance that was replaced broke off: %v", err)
	}
	older = startProxy(t, k, oldURL, append(oldArgs[:len(oldArgs):len(oldArgs)], gate))
	older.await(older.client(), "/clusters/root:one/api", bob, http.StatusOK)
	agree("upgraded", "/clusters/root:two/api")
	open("upgraded")

	if err := older.stop(); err != nil {
		t.Errorf("the upgraded instance ended with %v", err)
	}
	older = startOther(t, k, oldURL, oldArgs)
	agree("rolled back", "/clusters/root:two/api")
	if code, _ := older.ask(older.client(), "/clusters/root:one/api", bob); code != http.StatusUnauthorized {
		t.Errorf("rolled back: a user of a workspace type gets %d, want 401", code)
	}
	open("rolled back")
}

// startOther is startProxy with the build that otherBuild names, if it names one.
func startOther(t *testing.T, k *standin.KCP, url string, args []string) *runningProxy {
	t.Helper()
	program := os.Getenv(otherBuild)
	if program == "" {
		return startProxy(t, k, url, args)
	}
	ctx, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // whoever runs the test names it
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); kill() }()
	stopped := false
	p := &runningProxy{t: t, kcp: k, url: url, pid: cmd.Process.Pid}
	p.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		defer time.AfterFunc(time.Minute, kill).Stop()
		return <-ended
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("%s ended with: %v\n%s", program, err, output.String())
		}
	})
	client := p.client()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get(url + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready after a minute: %v", program, err)
		}
	}
}
