package routing

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"frontproxy/index/shards"
	"frontproxy/lookup"
)

// Segments of the built-in route /shards/<shard>/services/….
const (
	shardsSegment   = "shards"
	servicesSegment = "services"
	apiExport       = "apiexport"
)

// virtualWorkspaces says where the virtual workspaces of each shard are.
type virtualWorkspaces struct {
	// servers are where virtual workspaces are of which the shard's object only
	// tells the address here.
	servers map[string]*url.URL
	// embedded has the TLS files and headers for shards' base URLs, separate those
	// for virtual workspace servers of their own. Both are nil or neither is.
	embedded, separate *Mapping
}

// newVirtualWorkspaces takes TLS files and header names from the mapping file: for
// virtual workspaces embedded in a shard those of /clusters/, for others those
// of /services/; each stands in for the other. Path is what clients and metrics see as
// the entry's.
func newVirtualWorkspaces(m *Mappings, servers map[string]*url.URL, path string) virtualWorkspaces {
	v := virtualWorkspaces{servers: servers}
	route := func(e *Mapping) *Mapping {
		r := *e
		r.Path, r.Shards, r.Backend = path, false, nil
		return &r
	}
	for _, e := range m.entries {
		switch {
		case e.PassThrough:
		case e.Shards:
			v.embedded = route(e)
		case slices.Equal(e.pattern, []string{servicesSegment}):
			v.separate = route(e)
		}
	}
	if v.embedded == nil {
		v.embedded = v.separate
	}
	if v.separate == nil {
		v.separate = v.embedded
	}
	return v
}

// shardServices is the built-in route to every shard's virtual workspaces.
type shardServices struct {
	virtualWorkspaces
	find func(name string) (*shards.Shard, error)
}

func newShardServices(m *Mappings, find func(string) (*shards.Shard, error), servers map[string]*url.URL) (*shardServices, error) {
	if find == nil {
		return nil, nil
	}
	for _, e := range m.entries {
		if len(e.pattern) > 0 && e.pattern[0] == shardsSegment {
			return nil, fmt.Errorf("%s: /%s/ leads to the shards' virtual workspaces; remove the entry or --shard-virtual-workspaces", e.name(), shardsSegment)
		}
	}
	s := &shardServices{newVirtualWorkspaces(m, servers, "/"+shardsSegment+"/"), find}
	if s.embedded == nil {
		return nil, errors.New("--shard-virtual-workspaces needs an entry for /clusters/ or /services/ in the mapping file without authentication: pass-through; its certificate asserts the caller")
	}
	return s, nil
}

// match finds the shard that a path names, and what it names there. The shard's
// name is "" when the path is not below /shards/.
func (s *shardServices) match(path string) (shard string, r entryMatch, err error) {
	first, rest := lookup.Segment(path)
	if first != shardsSegment || rest == "" {
		return "", entryMatch{}, nil
	}
	segment, rest := lookup.Segment(rest)
	if shard, err = lookup.DecodeSegment(segment); err != nil {
		return "", entryMatch{}, err
	}
	// kcp appends "/services/…" to URLs that end in a slash.
	if strings.HasPrefix(rest, "//"+servicesSegment+"/") {
		rest = rest[1:]
	}
	if second, below := lookup.Segment(rest + "/"); second != servicesSegment || below == "" {
		return shard, entryMatch{}, nil
	}
	r.path = rest
	// A server that resolves dot segments would leave /services/, or another cluster.
	if err := lookup.Dotless(rest); err != nil {
		return "", entryMatch{}, err
	}
	r.cluster, err = servicesCluster(rest)
	return shard, r, err
}

// servicesCluster is the cluster whose type and scope count: for an APIExport's
// virtual workspace the one that owns the export, since access is granted there
// whatever cluster is reached through it; for others the one the path names.
func servicesCluster(path string) (string, error) {
	_, rest := lookup.Segment(path)
	if rest != "" {
		segment, rest := lookup.Segment(rest)
		kind, err := lookup.DecodeSegment(segment) // a server reads it decoded
		if err == nil && kind == apiExport && rest != "" {
			owner, _ := lookup.Segment(rest)
			return lookup.Cluster(owner)
		}
	}
	cluster, _, err := lookup.ClusterInPath(path)
	if cluster == lookup.Wildcard {
		cluster = ""
	}
	return cluster, err
}

// upstream says where the virtual workspaces of a shard are: where the operator
// says, else at its virtual workspace URL, or embedded at its base URL when it has none or that URL leads
// back here. It does if its path ends like this route, /shards/<shard>, whatever
// the proxy's host is called by whom, or if it is the shard's external URL,
// which is a front-proxy's. False: it leads to another shard's route, and could
// lead in a circle.
func (v *virtualWorkspaces) upstream(shard *shards.Shard) (*url.URL, *Mapping, bool) {
	if u := v.servers[shard.Name]; u != nil {
		return u, v.separate, true
	}
	u := shard.VirtualWorkspaceURL
	if u == nil {
		return shard.BaseURL, v.embedded, true
	}
	path := strings.TrimRight(u.Path, "/")
	if dir, name, ok := cutLast(path); ok {
		if _, parent, ok := cutLast(dir); ok && parent == shardsSegment {
			return shard.BaseURL, v.embedded, name == shard.Name
		}
	}
	if shard.ExternalURL != nil && strings.EqualFold(hostPort(u), hostPort(shard.ExternalURL)) {
		return shard.BaseURL, v.embedded, true
	}
	if _, ok := below(u, shard.BaseURL); ok {
		return u, v.embedded, true
	}
	return u, v.separate, true
}

// cutLast cuts the last segment off a path.
func cutLast(path string) (dir, last string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", "", false
	}
	return path[:i], path[i+1:], true
}
