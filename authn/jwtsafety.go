package authn

import (
	"fmt"
	"regexp/syntax"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
)

const (
	// maxPatterns bounds the compiled size of a configuration's regular
	// expressions together, in instructions (about 40 bytes each). A usual one
	// has a few dozen.
	maxPatterns = 5000
	// maxNested is how deep lists, maps and macros may be nested in an expression,
	// and maxComposed how many a configuration may have together. Each has a type
	// of its own to infer, of those inside it: a list 240 deep, of 500 bytes, keeps
	// the compiler busy for seconds, and 400 macros in 8 KiB do too.
	maxNested, maxComposed = 12, 256
	// maxIdentityBytes bounds an identity that claims are mapped to: name, UID,
	// groups and extras together.
	maxIdentityBytes = 64 << 10
)

// checkSafety refuses a configuration whose expressions CEL's own limits do not
// bound. It takes milliseconds for each expression.
func checkSafety(entries []apiserver.JWTAuthenticator) error {
	safe := newExpressionCheck()
	for i := range entries {
		for _, e := range expressions(&entries[i]) {
			if err := safe.check(e); err != nil {
				return fmt.Errorf("a CEL expression in spec.jwt[%d]: %w", i, err)
			}
		}
	}
	return nil
}

// expressionCheck refuses what CEL's own limits do not bound. Its run-time cost
// counts what a function is given, not what it makes of it, and one call cannot
// be interrupted: `replace` of "a" by 8,000 characters, twice, in a claim of
// 8,000, asks for half a terabyte at once, which ends the process. And a
// literal pattern is compiled when the configuration is, whatever its size.
type expressionCheck struct {
	env      *cel.Env
	patterns int // instructions so far
	composed int // lists, maps and macros so far
}

// newExpressionCheck starts the check of one configuration.
func newExpressionCheck() *expressionCheck { return &expressionCheck{env: expressionEnv()} }

// expressionEnv has all syntax that apiserver's compiler for authentication
// takes, macros and optionals included.
var expressionEnv = sync.OnceValue(func() *cel.Env {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).StoredExpressionsEnv()
})

// check judges one expression. What does not parse here is not looked into, so
// it is refused.
func (c *expressionCheck) check(expression string) error {
	parsed, issues := c.env.Parse(expression)
	if err := issues.Err(); err != nil {
		return fmt.Errorf("does not parse: %s", clipped(err.Error(), 300))
	}
	if err := c.compose(ast.NavigateAST(parsed.NativeRep()), 0); err != nil {
		return err
	}
	var err error
	ast.PostOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.CallKind && err == nil {
			err = c.call(e.AsCall())
		}
	}))
	return err
}

// compose counts lists, maps and macros, in depth and in number.
func (c *expressionCheck) compose(e ast.NavigableExpr, depth int) error {
	switch e.Kind() {
	case ast.ListKind, ast.MapKind, ast.StructKind, ast.ComprehensionKind:
		if depth++; depth > maxNested {
			return fmt.Errorf("lists, maps and macros are nested more than %d deep", maxNested)
		}
		if c.composed++; c.composed > maxComposed {
			return fmt.Errorf("the expressions of spec.jwt together have more than %d lists, maps and macros", maxComposed)
		}
	default:
	}
	for _, child := range e.Children() {
		if err := c.compose(child, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *expressionCheck) call(call ast.CallExpr) error {
	args := call.Args()
	switch name := call.FunctionName(); name {
	case "join", "format", "range", "lists.range":
		return fmt.Errorf("%s() is not taken: the size of its result has no bound", name)
	case "replace":
		if len(args) < 2 {
			return nil // validation refuses it
		}
		from, ok := literal(args[0])
		to, ok2 := literal(args[1])
		if !ok || !ok2 || from == "" || len(to) > len(from) {
			return fmt.Errorf("replace() is taken only with two literal strings, of which the second is no longer than the first and the first not empty: the size of its result has no bound else")
		}
	case "matches", "find", "findAll":
		// x.matches(p), x.find(p), x.findAll(p[, n]); or matches(x, p).
		i := 0
		if !call.IsMemberFunction() {
			i = 1
		}
		if len(args) <= i {
			return nil
		}
		pattern, ok := literal(args[i])
		if !ok {
			return fmt.Errorf("%s() is taken only with a literal pattern: the size of one that a token brings has no bound", name)
		}
		return c.pattern(pattern)
	}
	return nil
}

// pattern adds a regular expression's compiled size.
func (c *expressionCheck) pattern(pattern string) error {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil // validation refuses it
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil
	}
	if c.patterns += len(program.Inst); c.patterns > maxPatterns {
		return fmt.Errorf("the regular expressions of spec.jwt together are too large: compiled they have more than %d instructions", maxPatterns)
	}
	return nil
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().Value().(string)
	return s, ok
}

// checkSize refuses an identity that is too large to keep or to forward.
func checkSize(u user.Info) error {
	size := len(u.GetName()) + len(u.GetUID())
	for _, g := range u.GetGroups() {
		size += len(g) + 1
	}
	for k, values := range u.GetExtra() {
		size += len(k) + 1
		for _, v := range values {
			size += len(v) + 1
		}
	}
	if size > maxIdentityBytes {
		return fmt.Errorf("the claims map to an identity of more than %d bytes", maxIdentityBytes)
	}
	return nil
}
