package destination

import (
	"net/http"
	"net/url"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/index"
)

// Destination is where one request goes. When that could not be found out, it holds
// what was known until then. The zero Destination is nowhere.
type Destination struct {
	Kind Kind
	// Exposure is what the server there may see of the proxy and of who is asking.
	Exposure Exposure
	// Shard is the name of the shard that the request goes to; "" when it goes elsewhere.
	Shard string
	// ShardRoute is the shard whose virtual workspaces the caller asked for, below
	// /shards/<name>/services/; "" for every other path. A mount that leads there is not
	// such a path. Target then describes the virtual workspace's cluster, if it is known.
	ShardRoute string
	// Pattern is the path of the mapping file's entry that the request belongs to,
	// as written there; "" when it belongs to none, and so goes nowhere.
	Pattern string

	// Base has the scheme and the host of the server. It is shared: not to be modified.
	Base *url.URL
	// Prefix, which is escaped, and then Path are the path there.
	Prefix string
	// Path is the request's own part, escaped as it came: for shards what follows the
	// logical cluster.
	Path string
	// APIPath is the path as the API server at its end reads it, still escaped: what
	// follows the cluster, if there is one. When the request goes nowhere, it is the
	// path as it came, decoded.
	APIPath string
	// Transport carries the request. It shows the proxy's certificate where Exposure says so.
	Transport http.RoundTripper

	// Headers carry the identity to the server. For a ReducedIdentity host, HostHeaders carry
	// it, and Headers are only removed.
	Headers, HostHeaders Headers

	// ClusterPath is the cluster that the path names, as the client wrote it: not
	// validated unless Target has it; "" when it names none, or all of them.
	ClusterPath string
	// Target is what ClusterPath names. The identity is tied to its Cluster: the
	// workspace's type and the token's scope count.
	Target index.Target
	// Mounts are the mounted workspaces through which the request came here, in their
	// order; usually none. If the URL of a mount is below a shard's or this proxy's, the
	// other fields describe what is at that URL, as if the caller had asked for it.
	Mounts []Mount
}

// Headers are the headers from which a server reads who is asking.
type Headers interface {
	// Clear deletes those that a server could read an identity from.
	Clear(http.Header)
	// Set writes an identity, and does not modify it.
	Set(http.Header, user.Info)
	// SetUnchanged is Set for a caller who goes on as it came: with its UID, whatever
	// the server expects.
	SetUnchanged(http.Header, user.Info)
	// IsIdentityHeader reports whether Clear deletes a header.
	IsIdentityHeader(name string) bool
}

// Mount is a mounted workspace: its path, as it was asked for, the logical cluster that it is
// in, and where it leads.
type Mount struct {
	Path   string
	Parent string
	URL    *url.URL
}

// Kind is what a Destination is.
type Kind uint8

// The kinds of destinations.
const (
	Nowhere Kind = iota
	// Shard is the shard that has the logical cluster.
	Shard
	// VirtualWorkspace is a virtual workspace of a shard that the path names.
	VirtualWorkspace
	// Backend is the backend of another entry of the mapping file.
	Backend
	// MountedHost is a host outside of kcp, that a workspace's mount leads to.
	MountedHost
)

// String is a metric's label and a span's attribute: it has a few values only.
func (k Kind) String() string {
	switch k {
	case Shard, VirtualWorkspace:
		return "shard"
	case MountedHost:
		return "mount"
	}
	return "backend"
}

// Exposure is what a server may see.
type Exposure uint8

// What servers may see. The zero Exposure is the least.
const (
	// Untrusted sees neither our certificate nor anything that says who is asking: no
	// credential, no identity, no address. Its answers are sanitized.
	Untrusted Exposure = iota
	// ReducedIdentity is a host that the operator lists with a certificate: it sees that, and
	// the identity without what other hosts must not learn.
	ReducedIdentity
	// PassThrough is a backend that authenticates by itself: it sees the client's
	// credentials, and no identity.
	PassThrough
	// Trusted sees our certificate and the identity.
	Trusted
)

// Name is what clients may know about where the request goes. It has no address.
func (d *Destination) Name() string {
	switch d.Kind {
	case MountedHost:
		return "the mount of the workspace"
	case VirtualWorkspace:
		return "the virtual workspaces of shard \"" + d.Shard + "\""
	case Shard:
		return "shard \"" + d.Shard + "\""
	}
	return "the backend of \"" + d.Pattern + "\""
}

// LastMount is the mount that leads to where the request goes. There must be one.
func (d *Destination) LastMount() *Mount { return &d.Mounts[len(d.Mounts)-1] }

// Asked is the cluster path that the client asked for: not where its mounts lead, which a
// caller need not know.
func (d *Destination) Asked() string {
	if len(d.Mounts) > 0 {
		return d.Mounts[0].Path
	}
	return d.ClusterPath
}

// SetURL makes u, but for its query, the URL of path at the destination.
func (d *Destination) SetURL(u *url.URL, path string) {
	u.Scheme, u.Host, u.User = d.Base.Scheme, d.Base.Host, nil
	u.Opaque = d.Prefix + path // URL.EscapedPath re-encodes some bytes that clients send
}
