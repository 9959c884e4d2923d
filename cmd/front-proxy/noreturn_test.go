package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// TestRefusedStaysRefused: a type trusts one issuer, then another, again and
// again, while tokens of both are asked for as fast as can be. Whoever was
// refused once after a change is not admitted by what remembers the time before:
// not by the cache of verified tokens, and not by another request that began
// later.
func TestRefusedStaysRefused(t *testing.T) {
	t.Parallel()
	k, one := newTeam(t)
	other := newIssuer(t)
	k.Root.PutWorkspace("root", "ws", "workspace0000001", "root", "team", nil)
	k.Root.PutCluster("workspace0000001", "root:team", nil)
	p := startGated(t, k)
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
				for !ended(done) {
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

// TestWorkspaceMadeAnew: under one path a workspace of one type is deleted, and
// one of another type is made, again and again, while users of both types ask for
// it as fast as they can. Each reaches logical clusters of their own type only.
func TestWorkspaceMadeAnew(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	far := addShard(t, k, "shard-1")
	issuers := [2]*issuertest.Issuer{newIssuer(t), newIssuer(t)}
	var tokens [2]string
	for n, i := range issuers {
		k.Root.PutConfiguration("root", fmt.Sprintf("issuer-%d", n), trusting(i))
		k.Root.PutType("root", fmt.Sprintf("team-%d", n), fmt.Sprintf("issuer-%d", n))
		tokens[n] = i.Sign(issuertest.Claims{"sub": fmt.Sprintf("user-%d", n), "aud": "ws"})
	}
	p := startGated(t, k)
	done := make(chan struct{})
	var served [2]atomic.Int64
	var all sync.WaitGroup
	for asker := range 6 {
		user, client := asker%2, p.client()
		all.Go(func() {
			for !ended(done) {
				code, me := p.ask(client, "/clusters/root:ws/api", tokens[user])
				if code != http.StatusOK {
					continue
				}
				served[user].Add(1)
				if own := fmt.Sprintf("/clusters/type%d", user); !strings.HasPrefix(me.Path, own) || me.User != fmt.Sprintf("user-%d", user) {
					t.Errorf("%s of type %d was at %s", me.User, user, me.Path)
					return
				}
			}
		})
	}
	for round := range 40 {
		kind := round % 2
		shard := []*standin.Shard{k.Root, far}[round/2%2]
		cluster := fmt.Sprintf("type%dmade%07d", kind, round)
		k.Root.PutWorkspace("root", "ws", cluster, "root", fmt.Sprintf("team-%d", kind), nil)
		shard.PutCluster(cluster, fmt.Sprintf("root:team-%d", kind), nil)
		for begun, end := served[kind].Load(), time.Now().Add(20*time.Second); served[kind].Load() < begun+3; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("round %d: nobody is served", round)
			}
		}
		if round%3 == 0 { // otherwise its spec.cluster changes
			k.Root.RemoveWorkspace("root", "ws")
		}
		shard.RemoveCluster(cluster)
	}
	close(done)
	all.Wait()
}

// ended reports whether done is closed.
func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
