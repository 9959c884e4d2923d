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

// Tuple is what a person agrees to.
type Tuple struct {
	// Host is the server that tokens are sent to, as HostOf has it.
	Host string `json:"host"`
	// Issuer is the issuer's URL.
	Issuer string `json:"issuer"`
	// IssuerCA is a PEM bundle; empty: the system's.
	IssuerCA string `json:"issuerCA,omitempty"`
	ClientID string `json:"clientID"`
	// Scopes are sorted.
	Scopes []string `json:"scopes"`
}

// New makes a tuple; equal meanings make equal tuples.
func New(host, issuer, issuerCA, clientID string, scopes []string) Tuple {
	scopes = slices.Compact(slices.Sorted(slices.Values(scopes)))
	return Tuple{Host: host, Issuer: issuer, IssuerCA: strings.TrimSpace(issuerCA), ClientID: clientID, Scopes: scopes}
}

// Key names the tuple: nobody can make another of the same name.
func (t Tuple) Key() string {
	text, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Errorf("encode a tuple: %w", err)) // it has no types that fail
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// HostOf is the scheme, host and port of a server's URL in one spelling.
func HostOf(server *url.URL) string {
	return strings.ToLower(server.Scheme) + "://" + strings.TrimSuffix(strings.ToLower(server.Host), ":443")
}
