// Package tokencache stores the tokens of logins, one private file for each tuple of package trust.
// Only the holder of an entry's lock may renew its tokens, because many issuers treat a refresh
// token that is used twice as stolen.
package tokencache
