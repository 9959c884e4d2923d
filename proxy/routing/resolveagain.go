package routing

import (
	"errors"
	"net/http"

	"frontproxy/index"
	"frontproxy/proxy/destination"
)

// Route is how a request got to its Destination. ResolveAgain checks later whether it still
// gets there. Immutable.
type Route struct {
	shard  string // whose virtual workspaces were asked for; "" for every other path
	mounts []destination.Mount
	// host carries requests to the last mount's host, when the operator lists it; else nil.
	host http.RoundTripper
}

// RouteTo is the route to d, as of now.
func (r *Router) RouteTo(d *destination.Destination) Route {
	t := Route{shard: d.ShardRoute, mounts: d.Mounts}
	if d.Kind == destination.MountedHost && d.Transport != r.untrusted {
		t.host = d.Transport
	}
	return t
}

// Gone is the reason why a route leads nowhere now.
type Gone string

func (e Gone) Error() string { return string(e) }

// ResolveAgain follows a route again, which led to the target was, and returns the target that
// it leads to now. The error is a Gone when the route or its end no longer exists; any other
// means that this is not known now.
func (r *Router) ResolveAgain(t *Route, was *index.Target) (index.Target, error) {
	if t.shard != "" {
		if _, err := r.ShardServices(t.shard); errors.Is(err, index.ErrUnknown) {
			return index.Target{}, Gone("its shard is gone")
		}
	}
	for _, m := range t.mounts {
		now, err := r.Index.Lookup(m.Path)
		switch {
		case errors.Is(err, index.ErrUnknown):
			return index.Target{}, Gone("the workspace that mounted it is gone")
		case err == nil && (now.Mount == nil || now.Mount.String() != m.URL.String()):
			return index.Target{}, Gone("its mount leads elsewhere")
		}
	}
	if t.host != nil {
		if now := r.MountHosts.find(t.mounts[len(t.mounts)-1].URL); now == nil || now.transport() != t.host {
			return index.Target{}, Gone("its mount's host is no longer listed, or its entry has changed")
		}
	}
	if was.Cluster == "" {
		return *was, nil
	}
	target, err := r.Index.Lookup(was.Cluster)
	if errors.Is(err, index.ErrUnknown) {
		return index.Target{}, Gone("its workspace is gone")
	}
	return target, err
}
