package shards

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"
)

// The paths of Shard objects: in the root workspace, on the root shard only, and,
// from kcp 0.34 on, in the Admin workspace, which every shard serves from the cache
// server.
var (
	rootShards  = "/clusters/root" + apiPath(shardResource.GroupVersion()) + shardResource.Resource
	adminShards = "/services/admin" + apiPath(shardResource.GroupVersion()) + shardResource.Resource
)

// source is a server from which Shard objects can be read.
type source struct {
	name   string // for the log
	client *client
	path   string
	peer   bool
}

// endpoints are the servers between which the watch of Shard objects fails over: the
// peers in turn, and the root workspace until a peer has been read for the first
// time. After that, root is not used: where shards keep their own Shard objects, it
// may know fewer than the peers do, and the shards that it lacks would be removed.
// Used by one goroutine.
type endpoints struct {
	all      []source
	current  int
	peerRead bool
}

func (s *endpoints) get() source { return s.all[s.current] }

// read records that the current source was listed.
func (s *endpoints) read() { s.peerRead = s.peerRead || s.get().peer }

// advance makes the next source current and reports whether that is a different one.
func (s *endpoints) advance() bool {
	before := s.current
	for {
		s.current = (s.current + 1) % len(s.all)
		if s.current == before || s.get().peer || !s.peerRead {
			return s.current != before
		}
	}
}

func (s *endpoints) close() {
	for _, each := range s.all {
		each.client.close()
	}
}

// newEndpoints opens no connection. It takes ownership of root.
func (w *Watcher) newEndpoints(root *client) (*endpoints, error) {
	s := &endpoints{}
	for i, config := range w.cfg.Peers {
		c, err := newClient(config, w.peers[i], w.cfg.Timeout)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("peer kubeconfig: server %q: %w", w.peers[i], err)
		}
		s.all = append(s.all, source{name: w.peers[i].Host, client: c, path: adminShards, peer: true})
	}
	s.all = append(s.all, source{name: "root", client: root, path: rootShards})
	return s, nil
}

// peerURL returns the server of a peer's configuration.
func peerURL(config *rest.Config) (*url.URL, error) {
	if config == nil {
		return nil, errors.New("peer kubeconfig: it is missing")
	}
	u, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("peer kubeconfig: server %q: %w", config.Host, err)
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = strings.TrimSuffix(u.Path, "/"), "", "", ""
	return u, nil
}
