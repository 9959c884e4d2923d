// Package expression compiles and evaluates the CEL expressions of a JWT
// authenticator: claim mappings, claim validation rules and user validation
// rules. Any tenant can write them, and whoever has a token of the tenant's
// issuer chooses what they run on.
//
// Expressions are parsed and type-checked by apiserver's own compiler, so what it
// refuses is refused here with its words. They do not run in cel-go's
// interpreter, whose lists are lazy views and whose cost is counted after the
// call, but in a small one here, in which nothing happens that was not paid for
// before:
//
//   - Every step of an evaluation is charged to a Budget of steps (time) and of
//     bytes (memory) before it is made, by the sizes of its arguments and the
//     largest result that they allow. Bytes are never given back, so what an
//     evaluation keeps alive is at most what it was charged.
//   - Lists and maps are plain: all elements are there, and each value knows its
//     size in depth. No later step finds work that an earlier one left undone.
//   - A function runs only if it is in the table in functions.go, with its price.
//     Any other is refused when the expression is compiled.
//   - A result leaves only as a boolean, a number, null, a string or a list of
//     strings of at most MaxResultBytes.
//
// All expressions of one token share one Budget, so whatever the configuration
// and the token, an evaluation ends after MaxSteps steps, and the evaluations that
// run at one time hold at most their number times MaxBytes.
package expression
