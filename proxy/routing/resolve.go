package routing

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"frontproxy/index"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
)

// maxHops bounds the mounts a request is led through.
const maxHops = 3

// Resolve finds out where a request goes; path is its path as lookup.RawPath reads
// it. Errors come from packages lookup and index, or are *destination.Error; the
// Destination then has what was found out before.
func (r *Router) Resolve(req *http.Request, path string) (destination.Destination, error) {
	q := resolution{Router: r, routes: r.current.Load(), request: req, dest: destination.Destination{APIPath: req.URL.Path}}
	err := q.resolve(path)
	return q.dest, err
}

// resolution is one call of Resolve.
type resolution struct {
	*Router
	routes  *routes
	request *http.Request
	dest    destination.Destination
}

// resolve finds the mapping of a path and the cluster it names, and follows mounts:
// where one leads below a shard or this proxy, it is as if the caller had asked there
// itself.
func (q *resolution) resolve(path string) error {
	for hops := 0; ; hops++ {
		if matched, err := q.toServices(path); matched {
			if hops > 0 {
				q.dest.ShardRoute = "" // the caller asked for a mount, not for this
			}
			return err
		}
		if matched, err := q.toAdminWorkspace(path); matched {
			return err
		}
		if hops == 0 {
			var err error
			if path, err = q.routes.mappings.prefixTokenCluster(q.request, path); err != nil {
				return err
			}
		}
		mount, err := q.toMapped(path)
		if err != nil || mount == nil {
			return err
		}
		q.dest.Mounts = append(q.dest.Mounts, destination.Mount{Path: q.dest.ClusterPath, Parent: q.dest.Target.MountParent, URL: mount})
		below, ok := q.localMountPath(mount)
		switch {
		case !ok:
			return q.toHost(mount)
		case hops == maxHops:
			return &destination.Error{Reason: destination.MountLoop, Message: fmt.Sprintf("the workspace's mount leads through more than %d mounts", maxHops)}
		}
		if path = strings.TrimSuffix(below, "/") + q.dest.Path; path == "" {
			path = "/"
		}
		q.dest.Target = index.Target{}
	}
}

// toMapped finds where the mapping file has a path go. When that is a mount, its URL,
// which a tenant chose, is returned.
func (q *resolution) toMapped(path string) (mount *url.URL, err error) {
	found, err := q.routes.mappings.match(path)
	q.setEntry(found)
	m, d := found.mapping, &q.dest
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return nil, &destination.Error{Reason: destination.NotMapped, Message: "no mapping has the path"}
	}
	if err := q.lookUp(d.ClusterPath); err != nil {
		return nil, err
	}
	switch {
	case !m.Shards:
		d.Base, d.Prefix = m.Backend, m.Backend.EscapedPath()
		return nil, nil
	case d.Target.Mount != nil:
		return d.Target.Mount, nil
	case d.Target.Shard == nil:
		return nil, index.ErrUnknown // no caller can get here
	}
	d.Base = d.Target.Shard.BaseURL
	d.Prefix = d.Base.EscapedPath() + "/clusters/" + d.Target.Cluster
	return nil, lookup.ValidateSubpath(d.Path)
}

// setEntry begins the Destination with the entry of the mapping file to which the path belongs.
func (q *resolution) setEntry(found entryMatch) {
	d := &q.dest
	*d = destination.Destination{Path: found.path, APIPath: q.request.URL.Path, ClusterPath: found.cluster, Target: d.Target, Mounts: d.Mounts}
	m := found.mapping
	if m == nil {
		return
	}
	d.Kind, d.Exposure, d.Pattern, d.Headers = destination.Backend, destination.Trusted, m.Path, m.headers
	d.Transport = q.routes.upstreams[m.tls]
	if m.PassThrough {
		d.Exposure = destination.PassThrough
	}
	d.APIPath = d.Path
	if m.Shards {
		d.Kind = destination.Shard
	} else if cluster, inside, err := lookup.FindClusterAnywhere(d.Path); err == nil && cluster != "" {
		d.APIPath = inside
	}
}

// lookUp looks up the cluster that the path names; "": there is none.
func (q *resolution) lookUp(cluster string) error {
	if cluster == "" {
		return nil
	}
	d := &q.dest
	err := lookup.ValidateClusterPath(cluster)
	if err == nil {
		d.Target, err = q.Index.Lookup(cluster)
	}
	if d.Kind == destination.Shard && d.Target.Shard != nil {
		d.Shard = d.Target.Shard.Name
	}
	if q.Lookups != nil {
		q.Lookups(d.Target, err)
	}
	return err
}

// Pattern is the path of the mapping file's entry that a path belongs to; "" when
// there is none.
func (r *Router) Pattern(path string) (string, error) {
	found, err := r.current.Load().mappings.match(path)
	if err != nil || found.mapping == nil {
		return "", err
	}
	return found.mapping.Path, nil
}
