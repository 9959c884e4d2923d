package routing

import (
	"math"
	"net/url"
	"strings"

	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
)

const (
	adminSegment   = "admin"
	adminWorkspace = "/" + servicesSegment + "/" + adminSegment
)

var adminPattern = &Mapping{pattern: []string{servicesSegment, adminSegment}}

// newAdminWorkspace makes the route to the Admin workspace, which every shard serves from
// kcp 0.34 on, with the same contents. Nil: there is no such route, and paths below
// /services/admin go where the mapping file says. So it is when there is no entry for
// /clusters/, or that entry passes credentials through, even if another for /services/ does
// not; and when the proxy follows no shards.
func (r *Router) newAdminWorkspace(m *Mappings) *virtualWorkspaces {
	if r.Shards == nil {
		return nil
	}
	for _, e := range m.entries {
		if e.Shards && !e.PassThrough {
			return r.newVirtualWorkspaces(m, adminWorkspace)
		}
	}
	return nil
}

// toAdminWorkspace finds the shard for a path below /services/admin; false when it is none,
// or when an entry of the mapping file has it.
//
// No logical cluster is behind it, whatever the path names. So only those whom a global
// authenticator admits get there, and no type's.
func (q *resolution) toAdminWorkspace(path string) (ok bool, err error) {
	rest, ok := q.adminWorkspacePath(path)
	if !ok {
		return false, nil
	}
	q.dest.Target = index.Target{}
	q.setEntry(entryMatch{path: path, mapping: q.routes.admin.embedded})
	// A server that resolves dot segments would leave /services/admin.
	if err := lookup.Dotless(path); err != nil {
		return true, err
	}
	shard, base, mapping := q.adminShard()
	if shard == nil {
		return true, &destination.Error{Reason: destination.NoShard, Message: "no shard that serves the Admin workspace responds"}
	}
	q.setEntry(entryMatch{path: path, mapping: mapping})
	d := &q.dest
	d.Kind, d.Shard = destination.VirtualWorkspace, shard.Name
	d.Base, d.Prefix = base, strings.TrimRight(base.EscapedPath(), "/")
	if d.APIPath == d.Path { // it names no cluster
		d.APIPath = rest
	}
	return true, nil
}

// adminWorkspacePath is what follows /services/admin, as a server reads it, in a path; false
// when the path is not below that, or when an entry of the mapping file is there.
func (q *resolution) adminWorkspacePath(path string) (rest string, ok bool) {
	if q.routes.admin == nil {
		return "", false
	}
	if below, err := adminPattern.matches(path); !below || err != nil {
		return "", false
	}
	e, err := q.routes.mappings.find(path)
	if err != nil || e != nil && len(e.pattern) > 1 && e.pattern[0] == servicesSegment && e.pattern[1] == adminSegment {
		return "", false
	}
	_, rest = adminPattern.split(path)
	return rest, true
}

// adminShard takes the shards by turns, so that a client that tries again gets another one.
// It skips those whose watches fail, and those whose server does not respond (package
// upstream): requests to these would fail. The Mapping has the certificate for the server.
func (q *resolution) adminShard() (*shards.Shard, *url.URL, *Mapping) {
	all := q.Shards()
	first := int(q.turn.Add(1) & math.MaxInt32)
	for i := range all {
		shard := all[(first+i)%len(all)]
		base, mapping, ok := q.routes.admin.upstream(shard)
		if ok && (q.ShardFailingSince == nil || q.ShardFailingSince(shard.Name).IsZero()) && q.routes.upstreams[mapping.tls].Responds(hostPort(base)) {
			return shard, base, mapping
		}
	}
	return nil, nil, nil
}
