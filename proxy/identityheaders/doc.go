// Package identityheaders has the headers in which servers behind the proxy are told
// who is calling. It decides what of a client's headers must not reach them: whatever
// some server could read as an identity, in every spelling, is deleted first; then the
// identity that was decided is set. It also drops credentials that have been used up.
//
// It must not know which request goes where, nor who is admitted: it gets a header and
// an identity.
package identityheaders
