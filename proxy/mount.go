package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"

	"frontproxy/index/shards"
	"frontproxy/internal/egress"
)

// localMountPath returns the path below a known shard or this proxy that a mount's URL
// means there; false when the URL leads elsewhere. The result is escaped and
// as ambiguous as the tenant made it: it is judged like any request's path.
func (r *router) localMountPath(mount *url.URL) (string, bool) {
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

// newForeign makes the transport of mounts on hosts that are not ours. It has
// no client certificate, and dials as the operator's guard allows.
func newForeign(c *RouterConfig) *externalTransport {
	if c.MountDial == nil {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.MountTLS != nil {
		config.RootCAs = c.MountTLS.RootCAs
	}
	return &externalTransport{requests: foreignTransport(c, config, true), upgrades: foreignTransport(c, config.Clone(), false)}
}

// foreignAtMost is how many connections there are to a host, and idle ones to
// all of them.
const foreignAtMost = 256

// foreignTransport has egress' limits on what a host may cost. Tenants choose how
// many hosts there are, so those connections that are idle are few and bounded over
// all of them.
func foreignTransport(c *RouterConfig, config *tls.Config, http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:         c.MountDial,
		TLSClientConfig:     config,
		MaxIdleConns:        foreignAtMost,
		MaxIdleConnsPerHost: 8,
		MaxConnsPerHost:     foreignAtMost,
		DisableCompression:  true,
		Protocols:           new(http.Protocols),
	}
	egress.LimitTransport(t)
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(http2)
	return t
}

// externalTransport carries requests to mounts on other hosts.
type externalTransport struct{ requests, upgrades *http.Transport }

// RoundTrip implements http.RoundTripper.
func (f *externalTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, upgrade := r.Header["Upgrade"]; upgrade {
		return f.upgrades.RoundTrip(r)
	}
	return f.requests.RoundTrip(r)
}

func (f *externalTransport) close() {
	f.requests.CloseIdleConnections()
	f.upgrades.CloseIdleConnections()
}

const (
	// loopHeader lists the proxies a request has passed (RFC 8586), as Go spells
	// it. A request that carries our mark is led to no other host again: its
	// mount leads back here by a name that we do not know as ours.
	loopHeader = "Cdn-Loop"
	loopMark   = "front-proxy"
)

func looped(header http.Header) bool {
	for _, value := range header[loopHeader] {
		for mark := range strings.SplitSeq(value, ",") {
			mark, _, _ = strings.Cut(mark, ";")
			if strings.EqualFold(strings.TrimSpace(mark), loopMark) {
				return true
			}
		}
	}
	return false
}

// sanitizeResponse takes from a foreign host's answer what would let it act as our
// origin in a browser, whose certificate or token for us it could use. Trailers
// are read with the body's end.
func sanitizeResponse(res *http.Response) {
	stripOriginHeaders(res.Header)
	res.Header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	res.Header.Set("X-Content-Type-Options", "nosniff")
	if res.StatusCode != http.StatusSwitchingProtocols && res.Body != http.NoBody {
		res.Body = &sanitizedBody{res.Body, res}
	}
}

// stripOriginHeaders takes from headers what speaks for an origin.
func stripOriginHeaders(header http.Header) {
	for key := range header {
		if strings.HasPrefix(key, "Access-Control-") {
			delete(header, key)
		}
	}
	for _, key := range []string{
		"Set-Cookie", "Clear-Site-Data", "Strict-Transport-Security", "Public-Key-Pins", "Alt-Svc", "Service-Worker-Allowed",
		"Nel", "Report-To", "Reporting-Endpoints", "Accept-Ch", "Critical-Ch", "Expect-Ct", "Set-Login", "Origin-Trial",
	} {
		delete(header, key)
	}
}

// sanitizedBody is a foreign host's, whose trailers are confined too.
type sanitizedBody struct {
	io.ReadCloser
	res *http.Response
}

// Read implements io.Reader.
func (b *sanitizedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		stripOriginHeaders(b.res.Trailer)
	}
	return n, err
}

// sanitizingTransport is a transport to a foreign host, whose informational answers (1xx)
// are confined before ReverseProxy, whose hook is older, passes them on.
type sanitizingTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (c sanitizingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
			stripOriginHeaders(http.Header(header))
			return nil
		},
	})))
}
