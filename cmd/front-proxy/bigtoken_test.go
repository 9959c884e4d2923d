package main

import (
	"net/http"
	"strings"
	"testing"

	"frontproxy/authn/issuer/issuertest"
)

// TestBigToken: a token of a megabyte is refused like any bad token, over
// HTTP/2 and HTTP/1.1, and a good one still works on the same connection.
func TestBigToken(t *testing.T) {
	t.Parallel()
	k, issuer := newTeam(t)
	k.Root.PutWorkspace("root", "ws", "c000000000000001", "root", "team", nil)
	k.Root.PutCluster("c000000000000001", "root:team", nil)
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true"))
	good := issuer.Sign(issuertest.Claims{"sub": "alice", "aud": []string{"ws"}})
	h2 := p.client()
	h1 := p.client()
	h1.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	for name, c := range map[string]*http.Client{"HTTP/2": h2, "HTTP/1.1": h1} {
		p.await(c, "/clusters/root:ws/api", good, http.StatusOK)
		for what, token := range map[string]string{"garbage": strings.Repeat("a", 1<<20), "a JWT with a long end": good + strings.Repeat("a", 1<<20-len(good))} {
			if code, _ := p.ask(c, "/clusters/root:ws/api", token); code != http.StatusUnauthorized {
				t.Errorf("%s, %s of 1 MiB: %d", name, what, code)
			}
		}
		if code, _ := p.ask(c, "/clusters/root:ws/api", good); code != http.StatusOK {
			t.Errorf("%s: a good token afterwards: %d", name, code)
		}
	}
}
