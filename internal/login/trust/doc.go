// Package trust remembers at which issuers a person agreed to log in, and for whom.
//
// What a person agrees to is a tuple: a host that tokens are sent to, an issuer,
// the issuer's CA, the client and the scopes. A host that names another issuer, or
// the same one with another CA, client or scopes, is another tuple and must be
// agreed to anew; a token that was got under one tuple is used for no other. So a
// stranger's server that names a company's issuer is handed none of its tokens.
package trust
