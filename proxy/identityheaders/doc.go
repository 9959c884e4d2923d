// Package identityheaders has the headers with which the proxy tells servers who is calling. It
// decides which of a client's headers must not reach them: it first deletes, in every spelling,
// whatever some server could read as an identity, and then sets the identity that was decided. It
// also drops credentials that have been used.
//
// It must not know where a request goes, nor who is admitted: its input is headers and an
// identity.
package identityheaders
