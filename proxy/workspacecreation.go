package proxy

import (
	"net/http"
	"strings"

	"frontproxy/lookup"
	"frontproxy/proxy/destination"
)

// workspaces are the segments of the path where Workspaces are created, below a
// cluster.
var workspaces = [...]string{"apis", "tenancy.kcp.io", "v1alpha1", "workspaces"}

// createsWorkspace reports whether a request may create a Workspace, and so make its
// user the owner: a POST to the collection, or a server-side apply, which creates
// what does not exist. A request with impersonation does not count: the impersonated
// user would be the owner. The path is read as the shard reads it; the error wraps
// lookup.ErrAmbiguous if a segment that matters has two readings.
func createsWorkspace(r *http.Request, d *destination.Destination) (bool, error) {
	if d.Kind != destination.Shard || r.Method != http.MethodPost && !applies(r) {
		return false, nil
	}
	if r.Header.Get("Impersonate-User") != "" { // without, API servers know or take no other
		return false, nil
	}
	rest := d.Path
	for _, want := range workspaces {
		var got string
		var err error
		if got, rest, err = plainSegment(rest); err != nil || got != want {
			return false, err
		}
	}
	name, rest, err := plainSegment(rest)
	if err != nil || r.Method == http.MethodPost || name == "" {
		return r.Method == http.MethodPost && name == "", err
	}
	subresource, _, err := plainSegment(rest)
	return subresource == "" && err == nil, err
}

// applies reports whether a request is a server-side apply. The type is cut off as
// API servers cut it off, whatever follows.
func applies(r *http.Request) bool {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return r.Method == http.MethodPatch && strings.HasPrefix(kind, "application/apply-patch+")
}

// plainSegment returns the first segment of a path, decoded; empty at its end, for
// servers do not mind a slash there.
func plainSegment(path string) (segment, rest string, err error) {
	if path == "" || path == "/" {
		return "", "", nil
	}
	segment, rest = lookup.Segment(path)
	segment, err = lookup.DecodeSegment(segment)
	return segment, rest, err
}
