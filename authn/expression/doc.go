// Package expression compiles and evaluates the CEL expressions of a JWT authenticator: claim
// mappings, claim validation rules and user validation rules. Any tenant can write them, and
// anybody with a token of the tenant's issuer chooses their input.
//
// apiserver's own compiler parses and type-checks expressions, so it refuses them here with
// the same messages. They do not run in cel-go's interpreter, whose lists are lazy views and
// which counts the cost of a call after it. They run in a small interpreter here, in which
// every operation is paid for before it happens:
//
//   - Every step of an evaluation is charged to a Budget of steps (time) and bytes (memory)
//     before it runs, by the sizes of its arguments and of its largest possible result.
//     Bytes are never refunded, so an evaluation keeps alive at most what it was charged.
//   - Lists and maps are fully built, and each value knows its total size. No step leaves
//     work to a later one.
//   - A function runs only if functions.go lists it with its price. Any other function is
//     refused when the expression is compiled.
//   - A result must be a boolean, a number, null, a string or a list of strings, of at most
//     MaxResultBytes.
//
// It must not know issuers, tokens or who wrote an expression: it gets texts and claims.
//
// All expressions of one token share one Budget. So whatever the configuration and the token,
// an evaluation ends after MaxSteps steps, and concurrent evaluations together use at most
// MaxBytes each.
package expression
