// Package apistatus has the responses that the proxy gives by itself when it does not serve a
// request: Kubernetes Statuses in JSON. It decides which Status a client gets for an error of
// lookup, index, destination or authn, and what that reveals: never an address, and nothing about
// workspaces that the client may not know of.
//
// It does not know the proxy's requests, mappings or upstreams: its caller says what was wrong.
package apistatus
