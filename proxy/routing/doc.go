// Package routing says where requests go: by the mapping file, by the claim of a service
// account's token for paths that name no cluster, by the index, by the mounts of
// workspaces, and by the built-in routes to shards' virtual workspaces and to the Admin
// workspace. Its Router follows the mapping file and the files that it names, and makes the
// one Destination that everybody else reads.
//
// It must not know who is asking, nor what becomes of a request once it has a Destination:
// neither limits nor metrics.
package routing
