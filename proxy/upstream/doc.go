// Package upstream carries requests to servers: on which connections, with which TLS
// files, which it follows, and whether the server answers at all.
//
// It must not know who sends a request, nor why it goes to a server; of the request itself only
// what decides on its connection: whether it is a watch or an upgrade, and may be repeated.
package upstream
