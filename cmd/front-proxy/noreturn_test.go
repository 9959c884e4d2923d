package main

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
)

// TestRefusedStaysRefused: a type trusts one issuer, then another, again and
// again, while tokens of both are asked for as fast as can be. Whoever was
// refused once after a change is not admitted by what remembers the time before:
// not by the cache of verified tokens, and not by another request that began
// later.
func TestRefusedStaysRefused(t *testing.T) {
	k := newKCP(t)
	one, other := newIssuer(t), newIssuer(t)
	k.Root.PutConfiguration("root", "issuer", trusting(one))
	k.Root.PutType("root", "team", "issuer")
	k.Root.PutWorkspace("root", "ws", "workspace0000001", "root", "team", nil)
	k.Root.PutCluster("workspace0000001", "root:team", nil)
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true",
		"--token-auth-file="+file(t, "tokens.csv", []byte("somebodys-token,somebody,,\n")))) // so that nothing passes through
	const ws = "/clusters/root:ws/api"
	tokens := [2]string{one.Sign(issuertest.Claims{"sub": "alice", "aud": "ws"}), other.Sign(issuertest.Claims{"sub": "bob", "aud": "ws"})}
	p.await(p.client(), ws, tokens[0], http.StatusOK)

	for round := range 12 {
		out, in := tokens[round%2], tokens[(round+1)%2]
		var refused atomic.Bool // the one who is out, since the change
		var asked atomic.Int64
		done := make(chan struct{})
		var all sync.WaitGroup
		for range 6 {
			client := p.client()
			all.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					after := refused.Load()
					code, me := p.ask(client, ws, out)
					asked.Add(1)
					switch {
					case code == http.StatusUnauthorized:
						refused.Store(true)
					case code != http.StatusOK && code != http.StatusServiceUnavailable:
						t.Errorf("round %d: %d", round, code)
						return
					case code == http.StatusOK && after:
						t.Errorf("round %d: %s was admitted after having been refused", round, me.User)
						return
					}
				}
			})
		}
		k.Root.PutConfiguration("root", "issuer", trusting([]*issuertest.Issuer{one, other}[(round+1)%2]))
		p.await(p.client(), ws, in, http.StatusOK)
		p.await(p.client(), ws, out, http.StatusUnauthorized)
		for begun := asked.Load(); asked.Load() < begun+200 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		close(done)
		all.Wait()
		if !refused.Load() {
			t.Errorf("round %d: nobody was refused", round)
		}
	}
}
