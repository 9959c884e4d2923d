package lookup

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ErrAmbiguous is wrapped by the errors about paths that two programs could
// read differently (400).
var ErrAmbiguous = errors.New("the request path is ambiguous")

// RawPath returns the request's path exactly as it came: escaped, without the
// query. It fails, with ErrAmbiguous, on request targets that are no path
// (OPTIONS' asterisk), on methods whose path does not survive the way (CONNECT:
// HTTP/2 carries none; TRACE sends back what was ours to add), and on bytes that no URL has and
// that could break the request line of the next hop: spaces and "#".
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

// Segment splits the first segment off an escaped path that begins with a
// slash: "/a/b" is "a" and "/b". Last segments leave "".
func Segment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// DecodeSegment decodes a segment that decides where a request goes, and fails with
// ErrAmbiguous when it has more than one reading.
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

// ClusterInPath finds the cluster a path names after its first segments: the segment
// behind the first one that reads "clusters", and inside, the path behind that.
// Empty: it names none; then all of the path decided that, and all of it has been
// judged, a slash at its end excepted.
func ClusterInPath(path string) (cluster, inside string, err error) {
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
		cluster, err = Cluster(segment)
		return cluster, path, err
	}
	return "", "", nil
}

// ValidateSubpath judges what follows the cluster in a path below /clusters/. A shard
// takes the cluster off and reads the rest as a path of its own, as far as to a
// virtual workspace, which acts in the cluster that it finds there, or to no first
// segment where slashes are doubled. So its first segment decides where the
// request goes: the error wraps ErrAmbiguous when it is not plain, or begins
// another place.
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

// nested refuses a cluster right behind a cluster: which of the two a virtual
// workspace acts in depends on how long its own part of the path is. What stands
// there must not be able to vanish, and the rest must stay below it.
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
	// clusters is the segment before a cluster.
	clusters = "clusters"
	// services is the segment before a virtual workspace.
	services = "services"
)
