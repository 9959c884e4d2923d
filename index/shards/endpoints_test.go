package shards

import (
	"maps"
	"net"
	"testing"

	"k8s.io/client-go/rest"
)

// peer makes a stand-in serve Shard objects as a peer does.
func (s *standIn) asPeer(shards map[string]*standIn) *standIn {
	s.with(func() { s.objects[adminShards] = map[string]stored{} })
	for name, shard := range shards {
		s.put(adminShards, "system:shard", name, `{"baseURL":"`+shard.url()+`"}`)
	}
	return s
}

func (r *rig) lists(want ...string) {
	r.t.Helper()
	r.until("the shards listed", func() bool {
		r.rec.mu.Lock()
		defer r.rec.mu.Unlock()
		names := map[string]bool{}
		for _, name := range want {
			names[name] = true
		}
		got := map[string]bool{}
		for name := range r.rec.shards {
			got[name] = true
		}
		return maps.Equal(names, got)
	})
}

// TestPeers: Shard objects are read from whichever peer answers; root's are
// read until one has, and never again.
func TestPeers(t *testing.T) {
	shard := newStandIn(t, "")
	r := newRig(t, shard) // root lists s0
	old := newStandIn(t, "")
	one := newStandIn(t, "").asPeer(map[string]*standIn{"s0": shard, "s1": r.root})
	two := newStandIn(t, "").asPeer(map[string]*standIn{"s0": shard, "s1": r.root})
	// Of a kcp without Admin workspaces; and two that are down.
	addresses := [2]string{one.Listener.Addr().String(), two.Listener.Addr().String()}
	one.Close()
	two.Close()
	r.peers = []*rest.Config{old.config(), one.config(), two.config()}
	r.run()
	r.lists("s0") // from root
	r.synced()

	listen := func(s *standIn, address string) {
		t.Helper()
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		s.start(t, l)
	}
	stop := func(s *standIn) { s.CloseClientConnections(); s.Close() }
	listen(one, addresses[0])
	r.root.CloseClientConnections() // root's watch ends: time for another source
	r.root.with(func() { r.root.listError = 500 })
	r.lists("s0", "s1")
	r.root.with(func() { r.root.listError = 0 })

	// The peer goes, and another comes, which knows of a change since.
	two.put(adminShards, "system:shard", "s2", `{"baseURL":"`+shard.url()+`"}`)
	listen(two, addresses[1])
	stop(one)
	r.lists("s0", "s1", "s2")

	// All are gone: what was read stays, whatever root says.
	asked := r.root.count(rootShards)
	failed := func() int { return r.rec.count(" shards.core.kcp.io failed: connection") }
	stop(two)
	before := failed()
	r.until("many more failures", func() bool { return failed() > before+9 })
	r.lists("s0", "s1", "s2")
	if n := r.root.count(rootShards); n != asked {
		t.Errorf("root was asked %d times for shards after a peer had answered", n-asked)
	}
	listen(one, addresses[0])
	r.lists("s0", "s1") // the one that is back does not know of s2
}

// TestPeersWithoutRoot: with root down, peers tell the shards; watches that need no
// identity from root are read.
func TestPeersWithoutRoot(t *testing.T) {
	shard := newStandIn(t, "")
	shard.put(lcPath, "c1", "cluster", value("v"))
	r := newRig(t, shard)
	peer := newStandIn(t, "").asPeer(map[string]*standIn{"s0": shard})
	r.peers = []*rest.Config{peer.config()}
	r.root.Close()
	r.run()
	r.lists("s0")
	r.holds("s0 lc", map[string]string{"c1/cluster": "v"})
	if !r.Status().Root.Synced {
		t.Error("the shards are listed, and Status says that they are not")
	}
}

// TestListedShardsArePeers: once a peer has been read, every listed shard is one, with the
// configured peer's credentials; the list stays current when no configured peer is left.
func TestListedShardsArePeers(t *testing.T) {
	first, second := newStandIn(t, "/some/prefix"), newStandIn(t, "")
	all := map[string]*standIn{"s0": first, "s1": second}
	r := newRig(t, first)
	seed := newStandIn(t, "").asPeer(all)
	first.asPeer(all)
	second.asPeer(all)
	for _, s := range []*standIn{seed, first, second} {
		s.with(func() { s.peerToken = "of the peers" })
	}
	credentials := seed.config()
	credentials.BearerToken = "of the peers"
	r.peers = []*rest.Config{credentials}
	r.run()
	r.lists("s0", "s1")
	r.synced()
	if n := first.count(adminShards) + second.count(adminShards); n != 0 {
		t.Errorf("%d requests went to shards while the configured peer responds", n)
	}

	// The configured peer goes for good. Its address is not asked as long as shards
	// respond, except in turn.
	for _, s := range []*standIn{first, second} {
		s.put(adminShards, "system:shard", "s2", `{"baseURL":"`+second.url()+`"}`)
	}
	stop := func(s *standIn) { s.CloseClientConnections(); s.Close() }
	stop(seed)
	r.lists("s0", "s1", "s2")
	if first.count(adminShards) == 0 {
		t.Error("the next one in turn, the first shard, was not read")
	}

	// The shard that is read leaves the list, and so the peers.
	for _, s := range []*standIn{first, second} {
		s.remove(adminShards, "system:shard", "s0")
	}
	r.lists("s1", "s2")
	before := first.count(adminShards)
	first.CloseClientConnections()
	second.put(adminShards, "system:shard", "s3", `{"baseURL":"`+second.url()+`"}`)
	r.lists("s1", "s2", "s3")
	stop(second)
	failed := func() int { return r.rec.count(" shards.core.kcp.io failed: connection") }
	begun := failed()
	r.until("many more failures", func() bool { return failed() > begun+9 })
	if n := first.count(adminShards) - before; n != 0 {
		t.Errorf("a shard that is no longer listed was asked %d times", n)
	}
	r.lists("s1", "s2", "s3")
	if n := r.root.count(rootShards); n != 0 {
		t.Errorf("root was asked %d times for shards", n)
	}
}

// TestShardsOfRootAreNoPeers: a kcp without Admin workspaces is read from root. Its shards
// are not tried.
func TestShardsOfRootAreNoPeers(t *testing.T) {
	shard, another := newStandIn(t, ""), newStandIn(t, "")
	r := newRig(t, shard, another)
	old := newStandIn(t, "")
	r.peers = []*rest.Config{old.config()}
	r.run()
	r.lists("s0", "s1")
	r.synced()
	r.root.CloseClientConnections()
	r.root.shard("s2", shard.url())
	r.lists("s0", "s1", "s2")
	if n := shard.count(adminShards) + another.count(adminShards); n != 0 {
		t.Errorf("%d requests for Shard objects went to shards", n)
	}
}
