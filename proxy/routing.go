package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"frontproxy/internal/filewatch"
)

// routing is what a mapping file makes of the proxy. A request takes the one
// that is current when it comes and keeps it; a changed file makes another.
// Immutable.
type routing struct {
	mappings  *Mappings
	upstreams map[tlsFiles]*upstream
	services  *shardServices // nil: not served
}

// newRouting makes one. Upstreams of old with the same files go on with their
// connections; nil: there is none.
func (p *Proxy) newRouting(m *Mappings, old *routing) (*routing, error) {
	if m.shards && p.index == nil {
		return nil, errors.New("a proxy with a mapping for /clusters/ needs an index")
	}
	services, err := newShardServices(m, p.shardServices.find, p.shardServices.servers)
	if err != nil {
		return nil, err
	}
	next := &routing{mappings: m, upstreams: map[tlsFiles]*upstream{}, services: services}
	for _, e := range m.entries {
		switch {
		case next.upstreams[e.tls] != nil:
		case old != nil && old.upstreams[e.tls] != nil:
			next.upstreams[e.tls] = old.upstreams[e.tls]
		default:
			next.upstreams[e.tls] = newUpstream("mapping-file "+e.Path, e.tls, e.material, nil, p.clock, p.log)
		}
	}
	return next, nil
}

// mappingFileFlag is what metrics and /statusz call the mapping file.
const mappingFileFlag = "mapping-file"

// followMappings makes the follower of the mapping file, whose content first is
// made of.
func (p *Proxy) followMappings(path string, first *routing) {
	p.mappingFile = filewatch.Resume(filewatch.Config[*routing]{
		Name: mappingFileFlag,
		Load: func(_ context.Context, read filewatch.ReadFunc) (*routing, error) { return p.loadRouting(path, read) },
		Use: func(_, next *routing) {
			p.routing.Store(next)
			select {
			case p.rerouted <- struct{}{}:
			default: // it will be seen
			}
		},
		Clock: p.clock, Log: p.log,
	}, first, map[string][]byte{path: first.mappings.data})
}

// followFiles follows the mapping file and what it names until ctx ends.
func (p *Proxy) followFiles(ctx context.Context) {
	running := newUpstreamRuns(func(ctx context.Context, u *upstream) { u.run(ctx) })
	defer running.end()
	var mappings sync.WaitGroup
	defer mappings.Wait()
	if p.mappingFile != nil {
		mappings.Go(func() { _ = p.mappingFile.Run(ctx) })
	}
	for ctx.Err() == nil {
		running.follow(ctx, slices.Collect(maps.Values(p.routing.Load().upstreams)))
		select {
		case <-ctx.Done():
		case <-p.rerouted:
		}
	}
}

// loadRouting makes one of the mapping file. TLS files that are in use already
// are followed by their upstreams, and what was last good of them counts.
func (p *Proxy) loadRouting(path string, read filewatch.ReadFunc) (*routing, error) {
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", mappingFileFlag, err)
	}
	old := p.routing.Load()
	inUse := map[string][]byte{}
	for _, u := range old.upstreams {
		maps.Copy(inUse, u.current.Load().material.contents(u.files))
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
	next, err := p.newRouting(m, old)
	if err != nil {
		return nil, fmt.Errorf("mapping file %s: %w", path, err)
	}
	for _, warning := range m.Warnings() {
		p.log.Info(warning)
	}
	return next, nil
}

// Reload has the mapping file and the TLS files of its entries looked at now; Run
// does that.
func (p *Proxy) Reload() {
	if p.mappingFile != nil {
		p.mappingFile.Reload()
	}
	for _, u := range p.routing.Load().upstreams {
		u.followed.Reload()
	}
}
