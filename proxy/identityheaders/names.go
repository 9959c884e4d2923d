package identityheaders

import (
	"net/http"
	"slices"
	"strings"
)

// The headers that shards read identities from unless told otherwise.
const (
	DefaultUser  = "X-Remote-User"
	DefaultGroup = "X-Remote-Group"
	DefaultUID   = "X-Remote-Uid"
	DefaultExtra = "X-Remote-Extra-"
)

// Reserved reports whether a header cannot carry an identity.
func Reserved(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Authorization", "Connection", "Content-Length", "Content-Type", "Host", "Keep-Alive", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Cookie", "X-Forwarded-For":
		return true
	}
	return false
}

// Same reports whether some server takes two header names for one: the case of letters
// does not count, nor does "_" for "-".
func Same(a, b string) bool { return normalHeader(a) == normalHeader(b) }

// HasPrefix reports whether some server takes a header name for one that begins with prefix.
func HasPrefix(name, prefix string) bool { return hasFoldPrefix(name, normalHeader(prefix)) }

// normalHeader is the normal form of a header name, which all its spellings share.
func normalHeader(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// foldedIn reports whether key, in any spelling, is one of the names, which are in normal form.
func foldedIn(names []string, key string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return len(key) == len(name) && hasFoldPrefix(key, name) })
}

// beginsWithAny reports whether name, in any spelling, begins with one of the prefixes, which are in
// normal form.
func beginsWithAny(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return hasFoldPrefix(name, p) })
}

// hasFoldPrefix reports whether name, in any spelling, begins with prefix, which is in
// normal form.
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
