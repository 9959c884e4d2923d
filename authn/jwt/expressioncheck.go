package jwt

import (
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/cel/environment"

	"frontproxy/authn/expression"
	"frontproxy/internal/clip"
)

const (
	// maxPatterns bounds the compiled size of a configuration's regular
	// expressions together, in instructions. A usual one has a few dozen.
	maxPatterns = 5000
	// maxNested is how deep lists, maps and macros may be nested in an expression,
	// and maxComposed how many a configuration may have together. Each has a type
	// of its own to infer, of those inside it: a list 240 deep, of 500 bytes, keeps
	// the compiler busy for seconds, and 400 macros in 8 KiB do too.
	maxNested, maxComposed = 12, 256
	// maxNodes bounds a configuration's expressions together, macros expanded.
	maxNodes = 20_000
	// maxCompiled bounds, in bytes, what a configuration's expressions keep
	// allocated together: maxNodes and two megabytes of regular expressions.
	maxCompiled = 8 << 20
	// maxGroupsPrefix bounds the prefix that a plain mapping puts before each
	// group: a token has 4,000 at most, so they are a megabyte together.
	maxGroupsPrefix = 256
)

// checkSafety refuses a configuration that costs too much to compile, or whose
// plain mappings multiply what a token has. What an evaluation costs is bounded
// while it runs, by the package expression. It takes milliseconds for each
// expression.
func checkSafety(entries []apiserver.JWTAuthenticator) error {
	var safe expressionCheck
	for i := range entries {
		if p := entries[i].ClaimMappings.Groups.Prefix; p != nil && len(*p) > maxGroupsPrefix {
			return fmt.Errorf("spec.jwt[%d].claimMappings.groups.prefix has %d bytes, at most %d are allowed: each group gets it", i, len(*p), maxGroupsPrefix)
		}
		for _, e := range expressions(&entries[i]) {
			if err := safe.check(e.text); err != nil {
				return fmt.Errorf("spec.jwt[%d].%s: %w", i, e.field, err)
			}
		}
	}
	return nil
}

// expressionCheck bounds what the expressions of one configuration take to parse
// and to compile. A short text can be a large expression, and a literal pattern is
// compiled when the configuration is, whatever its size.
type expressionCheck struct {
	nodes    int // once macros are expanded, so far
	patterns int // instructions so far
	bytes    int64
	composed int // lists, maps and macros so far
}

// expressionEnv has all syntax that apiserver's compiler for authentication
// takes, macros and optionals included.
var expressionEnv = sync.OnceValue(func() *cel.Env {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).StoredExpressionsEnv()
})

// check judges one expression. What does not parse here is not looked into, so
// it is refused.
func (c *expressionCheck) check(text string) error {
	size, err := expression.SizeOf(text) // before anything expands macros
	if err != nil {
		return errDoesNotParse(err)
	}
	if c.nodes += size.Nodes; c.nodes > maxNodes {
		return fmt.Errorf("the expressions of spec.jwt together have more than %d nodes after macro expansion", maxNodes)
	}
	if c.patterns += size.Instructions; c.patterns > maxPatterns {
		return fmt.Errorf("the regular expressions of spec.jwt together are too large: they compile to more than %d instructions", maxPatterns)
	}
	if c.bytes += size.Bytes; c.bytes > maxCompiled {
		return fmt.Errorf("the expressions of spec.jwt together take more than %d bytes once compiled; regular expressions with many character classes are large", maxCompiled)
	}
	parsed, issues := expressionEnv().Parse(text)
	if err := issues.Err(); err != nil {
		return errDoesNotParse(err)
	}
	return c.compose(ast.NavigateAST(parsed.NativeRep()), 0)
}

// errDoesNotParse says why the parser refuses an expression, without the lines in which it
// draws where the fault is: errors are shown in one line.
func errDoesNotParse(err error) error {
	why, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("does not parse: %s", clip.Clone(strings.TrimPrefix(why, "ERROR: "), 300))
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
