package routing

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"frontproxy/index/shards"
	"frontproxy/lookup"
	"frontproxy/proxy/destination"
)

// localMountPath returns the path that a mount's URL has below a known shard or this proxy;
// false when the URL leads elsewhere. The path is escaped, and may be ambiguous, since a tenant
// wrote it: it has to be checked like any request's path.
func (r *Router) localMountPath(mount *url.URL) (string, bool) {
	for _, u := range r.ExternalURLs {
		if path, ok := below(mount, u); ok {
			return path, true
		}
	}
	if r.Shards == nil {
		return "", false
	}
	for _, s := range r.Shards() {
		for _, u := range shardURLs(s) {
			if path, ok := below(mount, u); ok {
				return path, true
			}
		}
	}
	return "", false
}

// toHost finds what a mount's URL names outside of kcp. Where that may lead to is checked when it
// is dialled: egress.Guard.
func (q *resolution) toHost(mount *url.URL) error {
	host := q.MountHosts.find(mount)
	if q.external == nil && host == nil || !strings.EqualFold(mount.Scheme, "https") || mount.Host == "" || mount.RawQuery != "" || strings.HasPrefix(mount.EscapedPath(), "//") {
		return &destination.Error{Reason: destination.MountRefused, Message: "the workspace's mount leads to a URL that the proxy does not serve"}
	}
	if looped(q.request.Header) {
		return &destination.Error{Reason: destination.MountLoop, Message: "the workspace's mount leads back to this proxy"}
	}
	d := &q.dest
	d.Kind, d.Exposure, d.Transport = destination.MountedHost, destination.Untrusted, q.untrusted
	d.Base = &url.URL{Scheme: "https", Host: mount.Host}
	if host != nil {
		d.Base.Host = host.url.Host // as the operator spells it
		d.Transport, d.HostHeaders = host.transport(), host.headers
		if host.hasClientCertificate() {
			d.Exposure = destination.ReducedIdentity
		}
	}
	d.Prefix = strings.TrimSuffix(mount.EscapedPath(), "/")
	if err := lookup.Stays(d.Path); err != nil { // the host, or what is before it, may resolve dot segments
		return err
	}
	switch path := d.Prefix + d.Path; {
	case path == "":
		d.Prefix = "/"
	case strings.HasPrefix(path, "//"): // it would name another host
		return &destination.Error{Reason: destination.MountPath, Message: "the path below the mount begins with two slashes"}
	}
	return nil
}

func shardURLs(s *shards.Shard) []*url.URL {
	if s.ExternalURL == nil {
		return []*url.URL{s.BaseURL}
	}
	return []*url.URL{s.BaseURL, s.ExternalURL}
}

// below returns what of u's path lies below base, when u does.
func below(u, base *url.URL) (string, bool) {
	if !sameHost(u, base) {
		return "", false
	}
	prefix := strings.TrimRight(base.EscapedPath(), "/")
	path, ok := strings.CutPrefix(u.EscapedPath(), prefix)
	if !ok || path != "" && path[0] != '/' {
		return "", false
	}
	return path, true
}

func sameHost(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(hostPort(a), hostPort(b))
}

// hostPort spells out the port and drops the dot that ends an absolute name.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[strings.ToLower(u.Scheme)]
	}
	return net.JoinHostPort(strings.TrimSuffix(u.Hostname(), "."), port)
}

const (
	// LoopHeader lists the proxies that a request has passed (RFC 8586), as Go spells it. A
	// request with LoopMark is not sent to a mounted host again: its mount leads back to this
	// proxy by a name that is not known to be the proxy's.
	LoopHeader = "Cdn-Loop"
	// LoopMark is this proxy's entry in LoopHeader.
	LoopMark = "front-proxy"
)

func looped(header http.Header) bool {
	for _, value := range header[LoopHeader] {
		for mark := range strings.SplitSeq(value, ",") {
			mark, _, _ = strings.Cut(mark, ";")
			if strings.EqualFold(strings.TrimSpace(mark), LoopMark) {
				return true
			}
		}
	}
	return false
}
