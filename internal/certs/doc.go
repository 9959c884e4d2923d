// Package certs has certificates, keys and CA bundles that are read from followed
// files, in the shape in which apiserver's listener and authenticators take them.
package certs
