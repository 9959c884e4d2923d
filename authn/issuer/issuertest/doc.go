// Package issuertest is a small real OIDC issuer over TLS for tests and the demo: discovery, a
// key set, signed tokens, key rotation. It can be hostile: down, slow, redirecting, lying about
// its name, serving garbage keys or bodies without an end, signing with the wrong key or none.
//
// It listens on loopback with a certificate of its own CA. Only Serve needs a test, so a separate
// process may run an issuer, too.
package issuertest
