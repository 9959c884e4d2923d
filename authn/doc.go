// Package authn decides who is asking: Decide is the only place in the program
// that admits or refuses a request.
//
// A request's credential is a client certificate or a bearer token. Global
// authenticators (the operator's flags) know it wherever the request goes; the
// authenticators of the target's workspace type (TypeIndex) know it there only.
// Types are tenants' choice, so what their authenticators say goes through the
// guard and is scoped to the one logical cluster. Everybody's identity is judged
// as the shard will read it, since HTTP headers do not carry every string.
//
// Every answer is a Decision. Each authenticator that was asked has accepted,
// refused, or could not decide; "could not decide" (503) is never mixed up with
// "refused" (401), and neither with "no authenticator applies", when the request
// passes through and the shard decides.
//
// Wrinkles:
//
//   - Requests read, events prepare: a workspace type's authenticators are built
//     when its objects change, never for a request.
//   - A certificate that verifies is remembered per connection's parsed
//     certificate and CA pool; a changed pool or a passed end asks again.
//   - Identities that token authenticators return are shared and never modified.
//   - apiserver's OIDC authenticator does the claims and CEL; keys, issuers and
//     what may be fetched are ours (package issuer).
package authn
