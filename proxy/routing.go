package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"k8s.io/utils/clock"

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
			next.upstreams[e.tls] = newUpstream("mapping-file "+e.Path, e.tls, e.material, nil, p.log)
		}
	}
	return next, nil
}

// mappingFileFlag is what metrics and /statusz call the mapping file.
const mappingFileFlag = "mapping-file"

// mappingFile follows the mapping file.
type mappingFile struct {
	path  string // empty: nothing to follow
	tried []byte // the content that was last looked at
	filewatch.Outcome
}

// followFiles follows the mapping file and what it names until ctx ends.
func (p *Proxy) followFiles(ctx context.Context) {
	running := newUpstreamRuns(func(ctx context.Context, u *upstream) { u.run(ctx) })
	defer running.end()
	follow := func() { running.follow(ctx, slices.Collect(maps.Values(p.routing.Load().upstreams))) }
	follow()
	if p.mappingFile.path == "" {
		<-ctx.Done()
		return
	}
	filewatch.Watch(ctx, clock.RealClock{}, p.log, []string{p.mappingFile.path}, func() {
		p.reloadMappings()
		follow()
	})
}

// reloadMappings puts a changed mapping file to use. One that cannot be used
// changes nothing, is logged once, and is tried again at the next look: a file
// that it names may come.
func (p *Proxy) reloadMappings() {
	f := &p.mappingFile
	data, err := os.ReadFile(f.path)
	if err == nil && f.LastError() == nil && bytes.Equal(data, f.tried) {
		return
	}
	f.tried = data
	if err == nil {
		err = p.useMappings(data)
	}
	news := f.Set(err)
	switch {
	case err == nil:
		p.log.Info("Reloaded the mapping file", "file", f.path)
	case news:
		p.log.Error(err, "The mapping file was not reloaded; what was read before stays in use")
	}
}

func (p *Proxy) useMappings(data []byte) error {
	m, err := LoadMappings(p.mappingFile.path, data, os.ReadFile)
	if err != nil {
		return err
	}
	next, err := p.newRouting(m, p.routing.Load())
	if err != nil {
		return fmt.Errorf("mapping file %s: %w", p.mappingFile.path, err)
	}
	p.routing.Store(next)
	return nil
}
