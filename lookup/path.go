package lookup

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ErrAmbiguous is wrapped by errors about paths that two programs could read
// differently (400).
var ErrAmbiguous = errors.New("the request path is ambiguous")

// RawPath returns the request's path exactly as it arrived: escaped, without the
// query. It returns an error that wraps ErrAmbiguous for request targets that are not
// paths (OPTIONS *), for methods whose path cannot be forwarded safely (CONNECT has
// none over HTTP/2; TRACE would send back what the proxy adds), and for bytes that no
// URL has and that could break the request line of the next hop: spaces and "#".
func RawPath(r *http.Request) (string, error) {
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return "", fmt.Errorf("%w: the proxy does not serve method %s", ErrAmbiguous, r.Method)
	}
	target := r.RequestURI
	if target == "" { // not read from a connection
		target = r.URL.RequestURI()
	}
	if i := strings.IndexAny(target, " #"); i >= 0 {
		return "", fmt.Errorf("%w: the request target has an unencoded %q", ErrAmbiguous, target[i:i+1])
	}
	path, _, _ := strings.Cut(target, "?")
	if strings.HasPrefix(path, "/") {
		return path, nil
	}
	// Absolute form (RFC 9112, section 3.2.2): scheme://authority/path.
	scheme, rest, ok := strings.Cut(path, "://")
	if !ok || !strings.EqualFold(scheme, r.URL.Scheme) || r.URL.User != nil {
		return "", fmt.Errorf("%w: the request target is not a path", ErrAmbiguous)
	}
	authority, path, ok := strings.Cut(rest, "/")
	path = "/" + path
	if decoded, err := url.PathUnescape(path); !ok || err != nil || decoded != r.URL.Path || authority != r.URL.Host {
		return "", fmt.Errorf("%w: the absolute request target has no simple authority and path", ErrAmbiguous)
	}
	return path, nil
}

// Segment splits the first segment off an escaped path that begins with a slash:
// "/a/b" gives "a" and "/b". For the last segment, rest is "".
func Segment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// DecodeSegment decodes a segment that affects routing. It returns an error that
// wraps ErrAmbiguous if the segment has more than one reading.
func DecodeSegment(segment string) (string, error) {
	decoded := segment
	if strings.IndexByte(segment, '%') >= 0 {
		var err error
		if decoded, err = url.PathUnescape(segment); err != nil {
			return "", fmt.Errorf("%w: bad percent-encoding", ErrAmbiguous)
		}
	}
	switch decoded {
	case "":
		return "", fmt.Errorf("%w: doubled slash", ErrAmbiguous)
	case ".", "..":
		return "", fmt.Errorf("%w: dot segment", ErrAmbiguous)
	}
	for i := range len(decoded) {
		switch c := decoded[i]; {
		case c == '/':
			return "", fmt.Errorf("%w: encoded slash", ErrAmbiguous)
		case c == '\\':
			return "", fmt.Errorf("%w: backslash", ErrAmbiguous)
		case c < ' ' || c == 0x7f:
			return "", fmt.Errorf("%w: control character", ErrAmbiguous)
		}
	}
	return decoded, nil
}

// FindClusterAnywhere finds the cluster that a path names after its first segments: the
// segment after the first one that reads "clusters". inside is the path after that.
// An empty cluster means that the path names none; then FindClusterAnywhere has checked the
// whole path, except for a trailing slash.
func FindClusterAnywhere(path string) (cluster, inside string, err error) {
	for path != "" && path != "/" {
		var segment string
		segment, path = Segment(path)
		if segment, err = DecodeSegment(segment); err != nil {
			return "", "", err
		}
		if segment != clusters || path == "" || path == "/" {
			continue
		}
		segment, path = Segment(path)
		if err := nested(path); err != nil {
			return "", "", err
		}
		cluster, err = DecodeCluster(segment)
		return cluster, path, err
	}
	return "", "", nil
}

// ValidateSubpath checks what follows the cluster in a path below /clusters/. A shard
// removes the cluster and reads the rest as a path of its own. That path may lead to
// a virtual workspace, which acts in the cluster that it finds there; with doubled
// slashes it may have no first segment. So the first segment of the rest affects
// routing: the error wraps ErrAmbiguous if it is not plain, or if it begins a virtual
// workspace or another cluster.
func ValidateSubpath(rest string) error {
	if rest == "" || rest == "/" {
		return nil
	}
	segment, _ := Segment(rest)
	segment, err := DecodeSegment(segment)
	switch {
	case err != nil:
		return err
	case segment == services:
		return fmt.Errorf("%w: virtual workspaces are not below a cluster, but below /services/", ErrAmbiguous)
	}
	return nested(rest)
}

// nested refuses a cluster directly after a cluster, because the length of a virtual
// workspace's own part of the path decides which of the two it acts in. The second
// segment must not be removable by dot segments, and the rest must stay below it.
func nested(rest string) error {
	if rest == "" || rest == "/" {
		return nil
	}
	if err := Stays(rest); err != nil {
		return err
	}
	segment, after := Segment(rest)
	if segment == "" {
		return fmt.Errorf("%w: doubled slash", ErrAmbiguous)
	}
	if err := Dotless("/" + segment); err != nil {
		return err
	}
	decoded, err := url.PathUnescape(segment)
	if err != nil {
		return fmt.Errorf("%w: bad percent-encoding", ErrAmbiguous)
	}
	if first, _, _ := strings.Cut(decoded, "/"); first == clusters {
		return errNested
	}
	return Stays(after)
}

var errNested = fmt.Errorf("%w: a cluster below a cluster", ErrAmbiguous)

const (
	// clusters is the segment in front of a cluster.
	clusters = "clusters"
	// services is the segment in front of a virtual workspace.
	services = "services"
)
