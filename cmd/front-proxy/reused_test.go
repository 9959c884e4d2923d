package main

import (
	"net/http"
	"testing"

	"frontproxy/authn/issuer/issuertest"
)

// TestTypePathIsReused: a type is named by a path, also where its workspace was
// deleted and another was made in its place. Then the other one's type counts,
// and nothing of the former; meanwhile nobody is admitted.
func TestTypePathIsReused(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	former, latter := newIssuer(t), newIssuer(t)
	const ws = "/clusters/root:ws/api"
	k.Root.PutWorkspace("root", "org", "formerorg0000001", "root", "universal", nil)
	k.Root.PutCluster("formerorg0000001", "root:universal", nil)
	k.Root.PutConfiguration("formerorg0000001", "issuer", trusting(former))
	k.Root.PutType("formerorg0000001", "team", "issuer")
	k.Root.PutWorkspace("root", "ws", "workspace0000001", "root:org", "team", nil)
	k.Root.PutCluster("workspace0000001", "root:org:team", nil)
	p := startGated(t, k)
	client := p.client()
	formers := former.Sign(issuertest.Claims{"sub": "alice", "aud": "ws"})
	latters := latter.Sign(issuertest.Claims{"sub": "mallory", "aud": "ws"})
	p.await(client, ws, formers, http.StatusOK)
	p.await(client, ws, latters, http.StatusUnauthorized)

	k.Root.RemoveWorkspace("root", "org")
	p.await(client, ws, formers, http.StatusUnauthorized) // the type is nobody's
	if code, _ := p.ask(client, ws, latters); code != http.StatusUnauthorized {
		t.Errorf("of nobody's yet: %d", code)
	}
	k.Root.RemoveType("formerorg0000001", "team")
	k.Root.RemoveConfiguration("formerorg0000001", "issuer")
	k.Root.RemoveCluster("formerorg0000001")

	k.Root.PutWorkspace("root", "org", "latterorg0000001", "root", "universal", nil)
	k.Root.PutCluster("latterorg0000001", "root:universal", nil)
	k.Root.PutConfiguration("latterorg0000001", "issuer", trusting(latter))
	k.Root.PutType("latterorg0000001", "team", "issuer")
	p.await(client, ws, latters, http.StatusOK)
	p.await(client, ws, formers, http.StatusUnauthorized)
}
