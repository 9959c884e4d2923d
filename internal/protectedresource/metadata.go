package protectedresource

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"frontproxy/internal/clip"
)

// WellKnownPath is the path of metadata. The path of the resource, if there is one,
// follows it (RFC 9728 section 3.1).
const WellKnownPath = "/.well-known/oauth-protected-resource"

const (
	// MaxBytes is the largest metadata that Parse reads.
	MaxBytes = 1 << 20
	// MaxClients is the largest number of clients that Parse reads.
	MaxClients = 64
)

// Metadata describes a resource.
type Metadata struct {
	// Resource is the resource's URL.
	Resource string `json:"resource"`
	// AuthorizationServers are the issuers' URLs.
	AuthorizationServers []string `json:"authorization_servers"`
	// BearerMethodsSupported is always "header".
	BearerMethodsSupported []string `json:"bearer_methods_supported"`
	// ScopesSupported are the scopes of all clients.
	ScopesSupported []string `json:"scopes_supported"`
	// ResourceName is shown to people.
	ResourceName string `json:"resource_name,omitempty"`
	// Clients has what a client of ID tokens needs, for each issuer: our extension.
	Clients []Client `json:"id_token_clients"`
}

// New returns the metadata of a resource whose users log in through clients.
func New(resource, name string, clients []Client) *Metadata {
	m := &Metadata{Resource: resource, ResourceName: name, BearerMethodsSupported: []string{"header"}, Clients: clients}
	for _, c := range clients {
		m.AuthorizationServers = appendNew(m.AuthorizationServers, c.Issuer)
		for _, s := range c.Scopes {
			m.ScopesSupported = appendNew(m.ScopesSupported, s)
		}
	}
	return m
}

func appendNew(all []string, s string) []string {
	if slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}

// URL returns the address of a resource's metadata. A resource without a path has no
// trailing slash.
func URL(resource *url.URL) *url.URL {
	return &url.URL{Scheme: resource.Scheme, Host: resource.Host, Path: WellKnownPath + strings.TrimSuffix(resource.Path, "/")}
}

// Parse reads metadata that was fetched for a resource. It fails if the metadata is
// about a different resource (RFC 9728 section 3.3), or if one of its clients is not
// valid.
func Parse(body []byte, resource string) (*Metadata, error) {
	if len(body) > MaxBytes {
		return nil, fmt.Errorf("the metadata has more than %d bytes", MaxBytes)
	}
	var m Metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, errors.New("the metadata is not a JSON object of RFC 9728")
	}
	if m.Resource != resource {
		return nil, fmt.Errorf("the metadata is about %q, not about %q, which was asked for", clip.Clone(m.Resource, MaxURLBytes), resource)
	}
	if len(m.Clients) > MaxClients {
		return nil, fmt.Errorf("the metadata has %d clients, at most %d are allowed", len(m.Clients), MaxClients)
	}
	for i := range m.Clients {
		if err := m.Clients[i].Validate(); err != nil {
			return nil, fmt.Errorf("id_token_clients[%d] of the metadata: %w", i, err)
		}
	}
	return &m, nil
}
