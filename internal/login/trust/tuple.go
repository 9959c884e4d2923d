package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Tuple is what a user agrees to.
type Tuple struct {
	// Host is the server that gets the tokens, as HostOf returns it.
	Host string `json:"host"`
	// Issuer is the issuer's URL.
	Issuer string `json:"issuer"`
	// IssuerCA is a PEM bundle; empty means the system's CAs.
	IssuerCA string `json:"issuerCA,omitempty"`
	ClientID string `json:"clientID"`
	// Scopes are sorted.
	Scopes []string `json:"scopes"`
}

// New returns a tuple; the same meaning always gives the same tuple.
func New(host, issuer, issuerCA, clientID string, scopes []string) Tuple {
	scopes = slices.Compact(slices.Sorted(slices.Values(scopes)))
	return Tuple{Host: host, Issuer: issuer, IssuerCA: strings.TrimSpace(issuerCA), ClientID: clientID, Scopes: scopes}
}

// Key identifies the tuple: no other tuple has the same key.
func (t Tuple) Key() string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Errorf("encode a tuple: %w", err)) // it has no types that cannot be encoded
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// HostOf returns the scheme, host and port of a server's URL in one canonical
// spelling.
func HostOf(server *url.URL) string {
	return strings.ToLower(server.Scheme) + "://" + strings.TrimSuffix(strings.ToLower(server.Host), ":443")
}
