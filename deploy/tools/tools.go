// Package tools pins, in its go.mod, what the tests of deploy/ run: helm, and
// small programs on the libraries of others. It is a module of its own so that
// front-proxy does not depend on any of them.
package tools
