package routing

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/certs"
	"frontproxy/internal/filewatch"
	"frontproxy/proxy/upstream"
)

// Index finds what a cluster path names.
type Index interface {
	// Lookup takes a valid cluster path, or a logical cluster's name; its errors
	// come from package index.
	Lookup(path string) (index.Target, error)
}

// Config is what a Router is made of.
type Config struct {
	// Mappings is the mapping file. Required.
	Mappings *Mappings
	// MappingFile is the file that Run follows, and takes Mappings from when it
	// changes. Empty: Mappings stay.
	MappingFile string
	// Index is required when Mappings has an entry for /clusters/; with nil, a
	// changed file cannot bring one.
	Index Index
	// Lookups is called with the result of each lookup; nil: it is not.
	Lookups func(index.Target, error)

	// ShardServices finds the shard whose virtual workspaces are at
	// /shards/<name>/services/; errors come from package index. Nil means that the
	// route does not exist.
	ShardServices func(name string) (*shards.Shard, error)
	// ShardServers has the virtual workspace servers of shards, by name, whose
	// objects have the address of that route instead. Each is https.
	ShardServers map[string]*url.URL

	// Shards are the shards known now: mounts below their URLs are resolved as
	// if the caller had asked there itself, and each serves /services/admin. Nil means none.
	Shards func() []*shards.Shard
	// ShardFailingSince says since when a shard, by its name, has not been responding to any of
	// the proxy's watches; zero: it is, or there is no such shard. One that fails does not get
	// requests that any shard can answer. Nil: none is known to fail.
	ShardFailingSince func(name string) time.Time
	// ExternalURLs are the proxy's own: mounts below them are resolved like those below the
	// URLs of shards.
	ExternalURLs []*url.URL
	// MountHosts are the hosts of other mounts that the operator trusts. Nil means none. The
	// caller runs it.
	MountHosts *MountHosts
	// MountDial dials the hosts of other mounts, whose URLs tenants choose; it
	// must refuse what a tenant must not reach. Nil: such mounts are refused.
	MountDial func(ctx context.Context, network, address string) (net.Conn, error)
	// MountTLS verifies those hosts; nil means the system's CAs. It must have no
	// certificates.
	MountTLS *tls.Config

	// Clock is for following files; nil means the real one.
	Clock clock.Clock
	// Log is told about files and servers. The zero Logger is mute.
	Log klog.Logger
}

// Router says where requests go, by the mapping file, the index and workspaces'
// mounts. Safe for concurrent use.
type Router struct {
	Config
	current   atomic.Pointer[routes]   // never nil
	file      *filewatch.File[*routes] // nil: not followed
	changed   chan struct{}            // has one when current is another
	external  *upstream.External       // to mounted hosts that tenants choose; nil: not served
	untrusted http.RoundTripper        // external, with answers that are sanitized
	turn      atomic.Uint32            // of the shards, for requests that any shard can answer
}

// New does no I/O and starts nothing.
func New(c Config) (*Router, error) {
	if c.Mappings == nil {
		return nil, errors.New("a router needs mappings")
	}
	r := &Router{Config: c, changed: make(chan struct{}, 1), external: upstream.NewExternal(c.MountDial, c.MountTLS)}
	if r.external != nil {
		r.untrusted = upstream.Untrusted(r.external)
	}
	first, err := r.newRoutes(c.Mappings, nil)
	if err != nil {
		return nil, err
	}
	r.current.Store(first)
	if c.MappingFile != "" {
		r.file = r.follow(c.MappingFile, first)
	}
	return r, nil
}

// Run follows the mapping file and what it names until ctx ends.
func (r *Router) Run(ctx context.Context) {
	var mappings sync.WaitGroup
	defer mappings.Wait()
	if r.file != nil {
		mappings.Go(func() { _ = r.file.Run(ctx) })
	}
	upstream.RunAll(ctx, r.Upstreams, r.changed)
}

// Close closes the idle connections to mounted hosts.
func (r *Router) Close() {
	if r.external != nil {
		r.external.Close()
	}
}

// Reload has the mapping file and the TLS files of its entries looked at now; Run
// does that.
func (r *Router) Reload() {
	if r.file != nil {
		r.file.Reload()
	}
	for _, u := range r.Upstreams() {
		u.Followed.Reload()
	}
}

// Reloads are why the router's files cannot be used, by source, as of now.
func (r *Router) Reloads() map[string]func() error {
	all := map[string]func() error{}
	if r.file != nil {
		all[mappingFileFlag] = r.file.LastError
	}
	for _, u := range r.Upstreams() {
		all[u.Source] = u.Followed.LastError
	}
	return all
}

// Upstreams returns the upstreams of the current mapping file.
func (r *Router) Upstreams() []*upstream.Upstream {
	return slices.Collect(maps.Values(r.current.Load().upstreams))
}

// Certificates are those shown to servers and expected of them, as of now.
func (r *Router) Certificates() []certs.Source {
	var all []certs.Source
	for _, u := range r.Upstreams() {
		all = append(all, u.Certificates()...)
	}
	return append(all, r.MountHosts.Certificates()...)
}
