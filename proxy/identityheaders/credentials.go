package identityheaders

import (
	"net/http"
	"strings"

	"frontproxy/authn/token"
)

const (
	authorization  = "authorization" // in normal form
	protocolHeader = "Sec-Websocket-Protocol"
)

// DropCredentials removes the credentials that a successful authentication has
// used up: the Authorization header, and bearer tokens among the WebSocket
// subprotocols.
func DropCredentials(header http.Header) {
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
			if p = strings.TrimSpace(p); p != "" && !strings.HasPrefix(p, token.BearerProtocolPrefix) {
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

// DropPrivate removes what an external host must not see: credentials of every kind,
// impersonation, and the caller's address.
func DropPrivate(header http.Header) {
	DropCredentials(header)
	dropPrefixed(header, privatePrefixes)
}

// DropCookies removes cookies, which browsers send for our origin and for no other.
func DropCookies(header http.Header) { dropPrefixed(header, []string{"cookie"}) }

// dropPrefixed removes headers that begin with any of the prefixes, which are in normal form.
func dropPrefixed(header http.Header, prefixes []string) {
	for key := range header {
		if beginsWithAny(key, prefixes) {
			delete(header, key)
		}
	}
}

// privatePrefixes are in normal form.
var privatePrefixes = []string{"impersonate-", "cookie", "x-remote-", "x-forwarded-", "forwarded", "x-kubernetes-"}
