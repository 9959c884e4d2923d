package routing

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"frontproxy/internal/filewatch"
	"frontproxy/proxy/upstream"
)

// routes are made from one version of the mapping file. A request uses those that are current
// when it arrives. Immutable.
type routes struct {
	mappings  *Mappings
	upstreams map[upstream.Files]*upstream.Upstream
	services  *virtualWorkspaces // nil: not served
	admin     *virtualWorkspaces // nil: not served
}

// newRoutes makes the routes of m. It takes over the upstreams of old that have the same files,
// with their connections. old may be nil.
func (r *Router) newRoutes(m *Mappings, old *routes) (*routes, error) {
	if m.shards && r.Index == nil {
		return nil, errors.New("a proxy with a mapping for /clusters/ needs an index")
	}
	services, err := r.newShardServices(m)
	if err != nil {
		return nil, err
	}
	next := &routes{mappings: m, upstreams: map[upstream.Files]*upstream.Upstream{}, services: services, admin: r.newAdminWorkspace(m)}
	for _, e := range m.entries {
		switch {
		case next.upstreams[e.tls] != nil:
		case old != nil && old.upstreams[e.tls] != nil:
			next.upstreams[e.tls] = old.upstreams[e.tls]
		default:
			next.upstreams[e.tls] = upstream.New("mapping-file "+e.Path, e.tls, e.credentials, false, r.Clock, r.Log)
		}
	}
	return next, nil
}

// mappingFileFlag is what metrics and /statusz call the mapping file.
const mappingFileFlag = "mapping-file"

// follow makes the follower of the mapping file, from whose present content first was made.
func (r *Router) follow(path string, first *routes) *filewatch.File[*routes] {
	return filewatch.Resume(filewatch.Config[*routes]{
		Name: mappingFileFlag,
		Load: func(_ context.Context, read filewatch.ReadFunc) (*routes, error) { return r.load(path, read) },
		Use: func(_, next *routes) {
			r.current.Store(next)
			select {
			case r.changed <- struct{}{}:
			default: // Run has not taken the last signal yet
			}
		},
		Clock: r.Clock, Log: r.Log,
	}, first, map[string][]byte{path: first.mappings.data})
}

// load makes routes from the mapping file. TLS files that are already in use are followed by
// their upstreams, so they are not read here: their last good content is used.
func (r *Router) load(path string, read filewatch.ReadFunc) (*routes, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", mappingFileFlag, err)
	}
	old := r.current.Load()
	inUse := map[string][]byte{}
	for _, u := range old.upstreams {
		maps.Copy(inUse, u.Credentials().Contents(u.Files))
	}
	m, err := LoadMappings(path, data, func(name string) ([]byte, error) {
		if text, ok := inUse[name]; ok {
			return text, nil
		}
		return read(name)
	})
	if err != nil {
		return nil, err
	}
	next, err := r.newRoutes(m, old)
	if err != nil {
		return nil, fmt.Errorf("mapping file %s: %w", path, err)
	}
	for _, warning := range append(m.Warnings(), m.Unserved()...) {
		r.Log.Info(warning)
	}
	return next, nil
}
