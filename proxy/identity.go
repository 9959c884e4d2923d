package proxy

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
)

// The headers that shards read identities from unless told otherwise.
const (
	defaultUser  = "X-Remote-User"
	defaultGroup = "X-Remote-Group"
	defaultUID   = "X-Remote-Uid"
	defaultExtra = "X-Remote-Extra-"
)

// extraKeys are the extra keys whose header names are worth preparing.
var extraKeys = []string{
	"authentication.kcp.io/scopes", "authentication.kcp.io/cluster-name", "authentication.kubernetes.io/credential-id",
	"authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid",
	"authentication.kubernetes.io/node-name", "authentication.kubernetes.io/node-uid",
}

// identityHeaders writes identities as apiserver's requestheader authenticator
// reads them. Immutable once the mapping file is loaded.
type identityHeaders struct {
	user, group, extra string
	uid                string // empty: UIDs are not forwarded
	// names and prefixes are the normalHeaders of what to delete: the defaults
	// and what any mapping uses, for one server may be behind several.
	names, prefixes []string
	prepared        map[string]string
}

func newIdentityHeaders(user, group, extra, uid string) *identityHeaders {
	h := &identityHeaders{
		user: http.CanonicalHeaderKey(user), group: http.CanonicalHeaderKey(group),
		extra: http.CanonicalHeaderKey(extra), uid: http.CanonicalHeaderKey(uid),
		prepared: make(map[string]string, len(extraKeys)),
	}
	h.names = []string{normalHeader(defaultUser), normalHeader(defaultGroup), normalHeader(defaultUID)}
	h.prefixes = []string{normalHeader(defaultExtra)}
	h.deletes(h)
	for _, k := range extraKeys {
		h.prepared[k] = h.extra + encodeExtraKey(k)
	}
	return h
}

// deletes adds what other uses to what h deletes.
func (h *identityHeaders) deletes(other *identityHeaders) {
	for _, n := range []string{other.user, other.group, other.uid} {
		if n = normalHeader(n); n != "" && !slices.Contains(h.names, n) {
			h.names = append(h.names, n)
		}
	}
	if p := normalHeader(other.extra); !slices.Contains(h.prefixes, p) {
		h.prefixes = append(h.prefixes, p)
	}
}

// clear deletes every header that a backend of any mapping, or a shard with
// the usual settings, could read as identity, and those of other proxies, in every
// spelling: the case of letters, and "_" for "-" as CGI-like readers fold them.
func (h *identityHeaders) clear(header http.Header) {
	for key := range header {
		if h.identifies(key) || endsHere(key) {
			delete(header, key)
		}
	}
}

func (h *identityHeaders) identifies(key string) bool {
	for _, n := range h.names {
		if len(key) == len(n) && hasFoldPrefix(key, n) {
			return true
		}
	}
	for _, p := range h.prefixes {
		if hasFoldPrefix(key, p) {
			return true
		}
	}
	return false
}

// set writes u, of which nothing is modified. Values go out as they are: the
// Decision's identity was judged to survive that.
func (h *identityHeaders) set(header http.Header, u user.Info) {
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

// encodeExtraKey spells an extra key as a part of a header name, from which a
// shard gets it back by lower-casing and percent-decoding. Encoded is every
// byte that is no header token byte, "%" itself, and upper-case letters, which
// the lower-casing would change.
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

// normalHeader folds a header name's spellings into one.
func normalHeader(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// hasFoldPrefix says whether some spelling of name begins with prefix, which
// is a normalHeader.
func hasFoldPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		} else if c == '_' {
			c = '-'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// reservedHeader says whether a header cannot carry an identity.
func reservedHeader(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Connection", "Content-Length", "Content-Type", "Host", "Keep-Alive", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Cookie", "X-Forwarded-For":
		return true
	}
	return false
}

// dropCredentials removes the credentials that a successful authentication has
// used up: the Authorization header, and bearer tokens among the WebSocket
// subprotocols.
func dropCredentials(header http.Header) {
	for key := range header {
		if len(key) == len(authorization) && hasFoldPrefix(key, authorization) {
			delete(header, key)
		}
	}
	protocols, ok := header[protocolHeader]
	if !ok {
		return
	}
	var kept []string
	for _, line := range protocols {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); p != "" && !strings.HasPrefix(p, authn.BearerProtocolPrefix) {
				kept = append(kept, p)
			}
		}
	}
	if len(kept) == 0 {
		delete(header, protocolHeader)
		return
	}
	header[protocolHeader] = []string{strings.Join(kept, ", ")}
}

const (
	authorization  = "authorization"
	protocolHeader = "Sec-Websocket-Protocol"
)

// bearerOf returns the request's bearer token for routing; it proves nothing.
func bearerOf(header http.Header) string {
	if v := header["Authorization"]; len(v) == 1 {
		scheme, token, _ := strings.Cut(v[0], " ")
		if strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(token)
		}
	}
	return ""
}

// payload decodes a JWT's claims without trusting them; nil when it has none.
func payload(token string) []byte {
	_, rest, ok := strings.Cut(token, ".")
	encoded, _, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return nil
	}
	claims, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	return claims
}
