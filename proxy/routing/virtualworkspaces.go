package routing

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
)

// Segments of the built-in route /shards/<shard>/services/….
const (
	shardsSegment   = "shards"
	servicesSegment = "services"
	apiExport       = "apiexport"
)

// virtualWorkspaces says where the virtual workspaces of each shard are.
type virtualWorkspaces struct {
	// servers has the addresses of virtual workspace servers, by shard. They are for shards
	// whose objects have the address of this route instead.
	servers map[string]*url.URL
	// embedded has the TLS files and headers for virtual workspaces at a shard's base URL,
	// separate those for separate virtual workspace servers. Both are nil or neither is.
	embedded, separate *Mapping
}

// newVirtualWorkspaces takes TLS files and header names from the mapping file: from the entry
// /clusters/ for virtual workspaces embedded in a shard, from /services/ for separate servers.
// If only one of the entries exists, it is used for both. Clients and metrics see path as the
// entry's.
func (r *Router) newVirtualWorkspaces(m *Mappings, path string) *virtualWorkspaces {
	v := &virtualWorkspaces{servers: r.ShardServers}
	route := func(e *Mapping) *Mapping {
		of := *e
		of.Path, of.Shards, of.Backend = path, false, nil
		return &of
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

// newShardServices makes the built-in route to every shard's virtual workspaces; nil: there is none.
func (r *Router) newShardServices(m *Mappings) (*virtualWorkspaces, error) {
	if r.ShardServices == nil {
		return nil, nil
	}
	for _, e := range m.entries {
		if len(e.pattern) > 0 && e.pattern[0] == shardsSegment {
			return nil, fmt.Errorf("%s: /%s/ leads to the shards' virtual workspaces; remove the entry or --shard-virtual-workspaces", e.name(), shardsSegment)
		}
	}
	v := r.newVirtualWorkspaces(m, "/"+shardsSegment+"/")
	if v.embedded == nil {
		return nil, errors.New("--shard-virtual-workspaces needs an entry for /clusters/ or /services/ in the mapping file without authentication: pass-through; its certificate asserts the caller")
	}
	return v, nil
}

// toServices finds where a path below /shards/ goes; false when it is none.
func (q *resolution) toServices(path string) (matched bool, err error) {
	if q.routes.services == nil {
		return false, nil
	}
	name, found, err := matchServices(path)
	switch {
	case err != nil:
		return true, err
	case name == "":
		return false, nil
	case found.path == "":
		return true, &destination.Error{Reason: destination.NotMapped, Message: "only virtual workspaces are served there"}
	}
	shard, err := q.ShardServices(name)
	if err != nil {
		return true, err
	}
	if err := q.lookUp(found.cluster); err != nil && !q.leaveTypeOpen(err) {
		return true, err
	}
	if q.dest.Target.Mount != nil {
		return true, index.ErrUnknown // a mount has no virtual workspaces
	}
	base, mapping, ok := q.routes.services.upstream(shard)
	found.mapping = mapping
	q.setEntry(found)
	d := &q.dest
	d.Kind, d.Shard, d.ShardRoute = destination.VirtualWorkspace, shard.Name, shard.Name
	d.Base, d.Prefix = base, strings.TrimRight(base.EscapedPath(), "/")
	if !ok {
		return true, &destination.Error{Reason: destination.Misplaced, Message: fmt.Sprintf("the virtual workspace URL of shard %q leads to another shard's", name)}
	}
	return true, nil
}

// leaveTypeOpen reports whether a request below /shards/ goes on although two shards claim
// its cluster: the path says which shard is asked, so only the cluster's type is unknown.
// kcp itself asks so, when it copies a cluster from one shard to another. A request
// through a mount is for a workspace, not for a shard.
func (q *resolution) leaveTypeOpen(err error) bool {
	d := &q.dest
	if !errors.Is(err, index.ErrConflict) || d.Target.Cluster == "" || len(d.Mounts) > 0 {
		return false
	}
	d.Target = index.Target{Cluster: d.Target.Cluster, Type: index.Type{Err: index.ErrConflict}}
	return true
}

// matchServices finds the shard that a path names, and what it names there. The shard's
// name is "" when the path is not below /shards/.
func matchServices(path string) (shard string, r entryMatch, err error) {
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

// servicesCluster returns the cluster that decides about the request: its type applies, and
// identities are scoped to it. For an APIExport's virtual workspace it is the cluster that
// owns the export, because access is granted there whatever cluster is reached through it. For
// others it is the cluster that the path names.
func servicesCluster(path string) (string, error) {
	_, rest := lookup.Segment(path)
	if rest != "" {
		segment, rest := lookup.Segment(rest)
		kind, err := lookup.DecodeSegment(segment) // a server reads it decoded
		if err == nil && kind == apiExport && rest != "" {
			owner, _ := lookup.Segment(rest)
			return lookup.DecodeCluster(owner)
		}
	}
	cluster, _, err := lookup.FindClusterAnywhere(path)
	if cluster == lookup.Wildcard {
		cluster = ""
	}
	return cluster, err
}

// upstream says where the virtual workspaces of a shard are: where the operator says, else at
// the shard's virtual workspace URL. If the shard has no such URL, or if that leads back to a
// front-proxy, they are embedded at the shard's base URL. The URL leads back if its path ends
// like this route, /shards/<shard>, whatever its host is, or if it has the host of the shard's
// external URL. False: it leads to the route of another shard, and could lead in a circle.
func (v *virtualWorkspaces) upstream(shard *shards.Shard) (*url.URL, *Mapping, bool) {
	if u := v.servers[shard.Name]; u != nil {
		return u, v.separate, true
	}
	u := shard.VirtualWorkspaceURL
	if u == nil {
		return shard.BaseURL, v.embedded, true
	}
	if dir, name := path.Split(strings.TrimRight(u.Path, "/")); strings.HasSuffix(dir, "/"+shardsSegment+"/") {
		return shard.BaseURL, v.embedded, name == shard.Name
	}
	if shard.ExternalURL != nil && strings.EqualFold(hostPort(u), hostPort(shard.ExternalURL)) {
		return shard.BaseURL, v.embedded, true
	}
	if _, ok := below(u, shard.BaseURL); ok {
		return u, v.embedded, true
	}
	return u, v.separate, true
}
