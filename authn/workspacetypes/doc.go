// Package workspacetypes has the ready-made authenticators of each workspace type,
// by its owning cluster and name: it decides which configurations a type uses, when
// they are built, and what stays in use while one changes.
//
// It must not know requests. Nor must it know what a token says or which limits
// identities have: package jwt does.
package workspacetypes
