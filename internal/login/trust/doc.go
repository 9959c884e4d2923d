// Package trust remembers at which issuers a user agreed to log in, and for which servers.
//
// A user agrees to a tuple: the host that gets the tokens, the issuer, the issuer's CA, the client
// and the scopes. A host that names another issuer, or the same issuer with another CA, client or
// scopes, is another tuple, to which the user must agree separately. A token that was obtained for
// one tuple is used for no other. So an unknown server that names a company's issuer gets none of
// its tokens.
package trust
