// Package workspacetypes has the ready-made authenticators of each workspace type,
// by its owning cluster and name: it decides which configurations a type uses, when
// they are built, and what holds while one changes.
//
// It must not know requests, identities' limits or what a token says; package jwt
// does.
package workspacetypes
