// Package upstream carries requests to servers: on which connections, with which TLS
// files, which it follows, and whether the server answers at all. It knows nothing of
// what requests are about.
package upstream
