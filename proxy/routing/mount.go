package routing

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"frontproxy/index/shards"
)

// localMountPath returns the path below a known shard or this proxy that a mount's URL
// means there; false when the URL leads elsewhere. The result is escaped and
// as ambiguous as the tenant made it: it is judged like any request's path.
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
	// LoopHeader lists the proxies a request has passed (RFC 8586), as Go spells
	// it. A request that carries our mark is led to no other host again: its
	// mount leads back here by a name that we do not know as ours.
	LoopHeader = "Cdn-Loop"
	// LoopMark is this proxy in it.
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
