package shards

import "net/url"

// Shard is one kcp shard as its Shard object in the root workspace describes it
// (core.kcp.io/v1alpha1). A published *Shard is immutable: a change creates a new
// one.
type Shard struct {
	// Name is the Shard object's name.
	Name string
	// BaseURL is spec.baseURL, the address of the shard for the proxy. It may have a
	// path, which never ends in a slash. Never nil.
	BaseURL *url.URL
	// ExternalURL is spec.externalURL; nil if the object has none or an unusable one.
	ExternalURL *url.URL
	// VirtualWorkspaceURL is spec.virtualWorkspaceURL; nil if the object has none,
	// which means that the virtual workspaces are embedded at BaseURL.
	VirtualWorkspaceURL *url.URL
}
