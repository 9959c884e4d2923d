package identityheaders

import (
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"k8s.io/apiserver/pkg/authentication/user"
)

// extraKeys are the extra keys whose header names are worth preparing.
var extraKeys = []string{
	"authentication.kcp.io/scopes", "authentication.kcp.io/cluster-name", "authentication.kubernetes.io/credential-id",
	"authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid",
	"authentication.kubernetes.io/node-name", "authentication.kubernetes.io/node-uid",
}

// Headers are the names of the headers in which one server gets the caller's
// identity. It writes identities as apiserver's requestheader authenticator reads
// them. Immutable after the last AlsoClear, and then safe for concurrent use.
//
// A further header needs a default name in names.go and a place in New, AlsoClear and Set. The keys
// by which mapping files name headers are in proxy/routing.
type Headers struct {
	user, group, extra string
	uid                string // empty: UIDs are not forwarded
	// names and prefixes are those to delete, in normal form: the defaults and what
	// any mapping uses, since several mappings may lead to one server.
	names, prefixes []string
	prepared        map[string]string
}

// New takes the names of the headers for a user's name, groups and UID, and the prefix
// of those for extra values. An empty uid means that UIDs are not forwarded.
func New(user, group, extra, uid string) *Headers {
	h := &Headers{
		user: http.CanonicalHeaderKey(user), group: http.CanonicalHeaderKey(group),
		extra: http.CanonicalHeaderKey(extra), uid: http.CanonicalHeaderKey(uid),
		prepared: make(map[string]string, len(extraKeys)),
	}
	h.names = []string{normalHeader(DefaultUser), normalHeader(DefaultGroup), normalHeader(DefaultUID)}
	h.prefixes = []string{normalHeader(DefaultExtra)}
	h.AlsoClear(h)
	for _, k := range extraKeys {
		h.prepared[k] = h.extra + encodeExtraKey(k)
	}
	return h
}

// AlsoClear has Clear delete what other uses, too.
func (h *Headers) AlsoClear(other *Headers) {
	for _, n := range []string{other.user, other.group, other.uid} {
		if n = normalHeader(n); n != "" && !slices.Contains(h.names, n) {
			h.names = append(h.names, n)
		}
	}
	if p := normalHeader(other.extra); !slices.Contains(h.prefixes, p) {
		h.prefixes = append(h.prefixes, p)
	}
}

// Clear deletes every header that a backend of any mapping, or a shard with
// the usual settings, could read as identity, and the headers of other proxies, in every
// spelling: the case of letters, and "_" for "-" as CGI-like readers fold them.
func (h *Headers) Clear(header http.Header) {
	for key := range header {
		if h.IsIdentityHeader(key) || assertsOrRewrites(key) {
			delete(header, key)
		}
	}
}

// IsIdentityHeader reports whether Clear deletes a header, in any spelling, because it may name an
// identity.
func (h *Headers) IsIdentityHeader(key string) bool {
	return foldedIn(h.names, key) || beginsWithAny(key, h.prefixes)
}

// Set writes u, which it does not modify, into a cleared header. Values go out as they are: the
// caller has checked that a header can carry them.
func (h *Headers) Set(header http.Header, u user.Info) {
	header[h.user] = []string{u.GetName()}
	if groups := u.GetGroups(); len(groups) > 0 {
		header[h.group] = groups[:len(groups):len(groups)]
	}
	if h.uid != "" && u.GetUID() != "" {
		header[h.uid] = []string{u.GetUID()}
	}
	for key, values := range u.GetExtra() {
		if len(values) == 0 {
			continue
		}
		name, ok := h.prepared[key]
		if !ok {
			name = h.extra + encodeExtraKey(key)
		}
		header[name] = values[:len(values):len(values)]
	}
}

// SetUnchanged is Set for a caller who goes on as it came: its UID is written even
// where the mapping names no header for it.
func (h *Headers) SetUnchanged(header http.Header, u user.Info) {
	h.Set(header, u)
	if uid := u.GetUID(); h.uid == "" && uid != "" {
		header[DefaultUID] = []string{uid}
	}
}

// encodeExtraKey encodes an extra key as a part of a header name; a shard decodes it
// by lower-casing and percent-decoding. It encodes every byte that is not allowed in
// a header name, "%" itself, and upper-case letters, which the lower-casing would
// change.
func encodeExtraKey(key string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if c == '%' || 'A' <= c && c <= 'Z' || !httpguts.IsTokenRune(rune(c)) {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Headers by which proxies and gateways tell the server behind them who is
// calling, in normal form. This proxy says so in headers of its own, so what a
// client sends in these proves nothing. Shards read none of them; what stands behind
// another mapping, or beside a shard, may.
var (
	assertingHeaders = []string{
		"x-forwarded-client-cert",                                                                                                   // Envoy, Istio
		"x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username", "x-forwarded-access-token", // oauth2-proxy
		"client-cert", "client-cert-chain", // RFC 9440
		"x-client-cert", "x-client-certificate", "x-client-verify", "x-arr-clientcert", // nginx, Azure
		"remote-user", "remote-groups", "remote-name", "remote-email", // CGI's, Authelia
		"x-userinfo", "x-endpoint-api-userinfo", "x-credential-identifier", "x-anonymous-consumer", // API gateways
		"x-goog-iap-jwt-assertion",
	}
	assertingPrefixes = []string{
		"x-auth-request-",                                         // oauth2-proxy
		"x-forwarded-tls-client-", "x-ssl-client-", "ssl-client-", // Traefik, nginx, HAProxy
		"x-amzn-oidc-", "x-amzn-mtls-", "x-goog-authenticated-user-", // load balancers
		"x-ms-client-principal", "x-ms-token-", "cf-access-", // Azure, Cloudflare
		"x-authenticated-", "x-webauth-", "x-authentik-", "x-consumer-", // gateways
		"x-pomerium-", "x-vouch-", "oidc-claim-", "tailscale-user-",
	}
	// requestHeaders make some servers read another method or path than the
	// request has, after the decision on these was made here.
	requestHeaders = []string{
		"x-http-method-override", "x-http-method", "x-method-override", "x-forwarded-method", "x-original-method",
		"x-original-url", "x-original-uri", "x-rewrite-url", "x-forwarded-uri",
	}
)

// assertsOrRewrites reports whether a header, in any spelling, is one of another proxy's or
// of those that rewrite the request: a client's is never forwarded.
func assertsOrRewrites(key string) bool {
	return foldedIn(assertingHeaders, key) || foldedIn(requestHeaders, key) || beginsWithAny(key, assertingPrefixes)
}
