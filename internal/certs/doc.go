// Package certs provides certificates, keys and CA bundles from followed files, as the types
// that apiserver's listener and authenticators use.
package certs
