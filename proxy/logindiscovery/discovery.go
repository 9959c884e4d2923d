package logindiscovery

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"frontproxy/index"
	"frontproxy/internal/protectedresource"
	"frontproxy/lookup"
)

const clustersPath = "/clusters/"

// Config is what a Discovery is made of.
type Config struct {
	// URLs are what clients reach the proxy by; at least one. Answers name the one
	// whose host was asked, else the first.
	URLs []*url.URL
	// Lookup finds what a valid cluster path names; see index. Nil: nothing.
	Lookup func(path string) (index.Target, error)
	// Type has the clients that a workspace type's owner publishes; nil: none.
	Type func(index.Type) []protectedresource.Client
	// Operator has the clients of the operator's issuers, which every workspace
	// accepts.
	Operator []protectedresource.Client
}

// Discovery answers from what is known at the moment. Safe for concurrent use.
type Discovery struct {
	config Config
	bases  []string // of URLs: https://host[:port]
	hosts  []string // of URLs, as a client may send them
}

// New fails on external URLs that cannot be told: RFC 9728 puts the well-known part
// between host and path, so that a proxy below a path would not be asked.
func New(c Config) (*Discovery, error) {
	if len(c.URLs) == 0 {
		return nil, errors.New("login discovery needs --external-url: responses contain it, whatever host a client uses")
	}
	d := &Discovery{config: c}
	for _, u := range c.URLs {
		if strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("login discovery needs an --external-url without a path; that for host %q has %q", u.Host, u.Path)
		}
		host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
		d.bases, d.hosts = append(d.bases, "https://"+host), append(d.hosts, host)
	}
	for i := range c.Operator {
		if err := c.Operator[i].Validate(); err != nil {
			return nil, fmt.Errorf("login client %d of the operator: %w", i+1, err)
		}
	}
	return d, nil
}

// Owns reports whether an escaped path is one that Metadata answers for, whether or
// not there is something to tell.
func Owns(path string) bool {
	rest, ok := strings.CutPrefix(path, protectedresource.WellKnownPath)
	return ok && (rest == "" || strings.HasPrefix(rest, clustersPath))
}

// Metadata is the metadata at an escaped path, for a client that asked host; nil: there is
// none.
func (d *Discovery) Metadata(path, host string) *protectedresource.Metadata {
	rest, ok := strings.CutPrefix(path, protectedresource.WellKnownPath)
	if !ok {
		return nil
	}
	clients, name := d.config.Operator, "front-proxy"
	if rest != "" {
		segment, ok := strings.CutPrefix(rest, clustersPath)
		if !ok {
			return nil
		}
		workspace, err := lookup.DecodeCluster(segment)
		if err != nil || lookup.ValidateClusterPath(workspace) != nil {
			return nil
		}
		rest, name = clustersPath+workspace, "workspace "+workspace
		clients = d.workspace(workspace)
	}
	if len(clients) == 0 {
		return nil
	}
	return protectedresource.New(d.base(host)+rest, name, clients)
}

// workspace has the clients of a workspace: its type's first.
func (d *Discovery) workspace(path string) []protectedresource.Client {
	if d.config.Lookup != nil {
		if t, err := d.config.Lookup(path); err == nil {
			return d.clients(&t)
		}
	}
	return d.config.Operator
}

func (d *Discovery) clients(t *index.Target) []protectedresource.Client {
	if d.config.Type == nil || t.Mount != nil {
		return d.config.Operator
	}
	return slices.Concat(d.config.Type(t.Type), d.config.Operator)
}

// Challenge returns the WWW-Authenticate header of a 401 for the workspace at path,
// whose target is t; empty if there is no metadata. If the request had a token, the
// header calls it invalid (RFC 6750 section 3.1) without a reason.
func (d *Discovery) Challenge(path, host string, t *index.Target, presented bool) string {
	if len(d.clients(t)) == 0 {
		return ""
	}
	challenge := `Bearer resource_metadata="` + d.base(host) + protectedresource.WellKnownPath + clustersPath + path + `"`
	if presented {
		challenge += `, error="invalid_token"`
	}
	return challenge
}

func (d *Discovery) base(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	return d.bases[max(0, slices.Index(d.hosts, host))]
}
