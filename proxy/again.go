package proxy

import (
	"errors"
	"net/http"

	"frontproxy/index"
	"frontproxy/proxy/destination"
)

// takenRoute is how a request got to a Destination, to see later whether it still
// would. Immutable.
type takenRoute struct {
	target index.Target
	mounts []destination.Mount
	// host carries requests to the last mount's host, when the operator lists it; else nil.
	host http.RoundTripper
}

// taken is the route to d, as of now.
func (r *router) taken(d *destination.Destination) takenRoute {
	t := takenRoute{target: d.Target, mounts: d.Mounts}
	if d.Kind == destination.MountedHost && d.Transport != r.strangers {
		t.host = d.Transport
	}
	return t
}

// goneError says in words why a route ends nowhere now.
type goneError string

// Error implements error.
func (e goneError) Error() string { return string(e) }

// Again takes a route again, and returns the target there is now. The error is a
// goneError when the way or its end is gone; any other says that nobody can tell now.
func (r *router) Again(t *takenRoute) (index.Target, error) {
	if s := t.target.Services; s != nil {
		if _, err := r.ShardServices(s.Name); errors.Is(err, index.ErrUnknown) {
			return index.Target{}, goneError("its shard is gone")
		}
	}
	for _, m := range t.mounts {
		now, err := r.Index.Lookup(m.Path)
		switch {
		case errors.Is(err, index.ErrUnknown):
			return index.Target{}, goneError("the workspace that mounted it is gone")
		case err == nil && (now.Mount == nil || now.Mount.String() != m.URL.String()):
			return index.Target{}, goneError("its mount leads elsewhere")
		}
	}
	if t.host != nil {
		if now := r.MountHosts.find(t.mounts[len(t.mounts)-1].URL); now == nil || now.transport() != t.host {
			return index.Target{}, goneError("its mount's host is no longer listed, or its entry has changed")
		}
	}
	if t.target.Cluster == "" {
		return t.target, nil
	}
	target, err := r.Index.Lookup(t.target.Cluster)
	if errors.Is(err, index.ErrUnknown) {
		return index.Target{}, goneError("its workspace is gone")
	}
	target.Services = t.target.Services
	return target, err
}
