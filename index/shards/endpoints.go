package shards

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
)

// The paths of Shard objects: in the root workspace, on the root shard only, and,
// from kcp 0.34 on, in the Admin workspace, which every shard serves from the cache
// server.
var (
	rootShards  = "/clusters/root" + apiPath(shardResource)
	adminShards = "/services/admin" + apiPath(shardResource)
)

// source is a server from which Shard objects can be read.
type source struct {
	name   string // for the log
	base   *url.URL
	client *client // nil: not used yet
	path   string
	peer   bool
}

// endpoints are the servers between which the watch of Shard objects fails over: the
// configured peers in turn, and the root workspace until a peer has been read for the
// first time. After that, root is not used: where shards keep their own Shard objects, it
// may know fewer than the peers do, and the shards that it lacks would be removed.
//
// As in kcp 0.34, every shard that is listed is then a peer, too, at its base URL and with
// the credentials of the first configured one. So the list stays current as long as any
// shard responds, even if none of the configured peers exists any more.
//
// Used by one goroutine.
type endpoints struct {
	configured []*source // may be empty: then only root is used
	root       *source
	found      map[string]*source // listed shards, by name, that are not configured
	current    *source
	peerRead   bool
	// open makes the client of a found shard.
	open func(base *url.URL) (*client, error)
}

// read records that the current source was listed.
func (s *endpoints) read() { s.peerRead = s.peerRead || s.current.peer }

// usable are the sources that may be current, in the order in which they are tried.
func (s *endpoints) usable() []*source {
	if !s.peerRead {
		return append(slices.Clone(s.configured), s.root)
	}
	all := slices.Clone(s.configured)
	for _, name := range slices.Sorted(maps.Keys(s.found)) {
		all = append(all, s.found[name])
	}
	return all
}

// advance makes the next source current and reports whether that is a different one. A
// found shard without a client is skipped: its credentials cannot be read now.
func (s *endpoints) advance() bool {
	all, before := s.usable(), s.current
	at := slices.Index(all, before) // -1: it is no longer listed; the first one is next
	for i := range all {
		next := all[(at+1+i)%len(all)]
		if next == before {
			return false
		}
		if next.client == nil {
			if next.client, _ = s.open(next.base); next.client == nil {
				continue
			}
		}
		s.current = next
		if at < 0 {
			before.client.close()
		}
		return true
	}
	return false
}

// shardListed makes a listed shard a peer, unless it is one by configuration.
func (s *endpoints) shardListed(name string, base *url.URL) {
	if old := s.found[name]; old != nil && sameURL(old.base, base) {
		return
	}
	s.shardRemoved(name)
	if len(s.configured) == 0 || slices.ContainsFunc(s.configured, func(c *source) bool { return sameURL(c.base, base) }) {
		return
	}
	s.found[name] = &source{name: base.Host, base: base, path: adminShards, peer: true}
}

// shardRemoved undoes shardListed.
func (s *endpoints) shardRemoved(name string) {
	if old := s.found[name]; old != nil && old.client != nil && old != s.current {
		old.client.close()
	}
	delete(s.found, name)
}

// unlisted reports whether the current source is a shard that is no longer listed at its
// address: it is left when its watch ends, even if it still responds.
func (s *endpoints) unlisted() bool { return s.peerRead && !slices.Contains(s.usable(), s.current) }

func (s *endpoints) close() {
	for _, each := range s.configured {
		each.client.close()
	}
	for _, each := range s.found {
		if each.client != nil {
			each.client.close()
		}
	}
	if s.current != nil {
		s.current.client.close()
	}
}

// newEndpoints opens no connection. The caller closes root.
func (w *Watcher) newEndpoints(root *client) (*endpoints, error) {
	s := &endpoints{
		root:  &source{name: "root", base: w.root, client: root, path: rootShards},
		found: map[string]*source{},
		open:  func(base *url.URL) (*client, error) { return newClient(w.cfg.Peers[0], base, w.cfg.Timeout) },
	}
	for i, config := range w.cfg.Peers {
		c, err := newClient(config, w.peers[i], w.cfg.Timeout)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("peer kubeconfig: server %q: %w", w.peers[i], err)
		}
		s.configured = append(s.configured, &source{name: w.peers[i].Host, base: w.peers[i], client: c, path: adminShards, peer: true})
	}
	s.current = s.usable()[0]
	return s, nil
}

// serverURL returns the server of a configuration, without a slash at its end.
func serverURL(config *rest.Config) (*url.URL, error) {
	if config == nil {
		return nil, errors.New("it is missing")
	}
	u, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", config.Host, err)
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = strings.TrimSuffix(u.Path, "/"), "", "", ""
	return u, nil
}
