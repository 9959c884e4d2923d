// Package certs provides certificates, keys and CA bundles from followed files, as the types
// that apiserver's listener and authenticators use.
//
// It must not know whom a certificate identifies, nor what is served with it.
package certs
