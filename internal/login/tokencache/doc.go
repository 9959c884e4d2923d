// Package tokencache keeps the tokens of logins, one private file a tuple of
// package trust. Whoever holds an entry's lock may renew its tokens: a refresh
// token that is used twice is taken for stolen by many issuers.
package tokencache
