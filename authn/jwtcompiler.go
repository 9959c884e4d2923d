package authn

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"k8s.io/apiserver/pkg/authentication/cel"
)

// compiledExpressions is how many compiled expressions are kept for others who
// write the same.
const compiledExpressions = 128

// sharedCompiler compiles each CEL expression once while it is in use a lot:
// configurations are much alike, and validation compiles as well as building
// does. Programs are immutable and safe for concurrent use.
type sharedCompiler struct {
	compiler cel.Compiler
	compiled *lru.Cache[expressionKey, cel.CompilationResult]
}

// expressionKey has the accessor's type, as that tells the result type wanted.
type expressionKey struct{ variable, accessor, expression string }

// newSharedCompiler takes about a tenth of a second.
func newSharedCompiler() *sharedCompiler {
	compiled, err := lru.New[expressionKey, cel.CompilationResult](compiledExpressions)
	if err != nil {
		panic(err) // only for a size below one
	}
	return &sharedCompiler{compiler: cel.NewDefaultCompiler(), compiled: compiled}
}

// CompileClaimsExpression implements cel.Compiler.
func (c *sharedCompiler) CompileClaimsExpression(x cel.ExpressionAccessor) (cel.CompilationResult, error) {
	return c.compile("claims", x, c.compiler.CompileClaimsExpression)
}

// CompileUserExpression implements cel.Compiler.
func (c *sharedCompiler) CompileUserExpression(x cel.ExpressionAccessor) (cel.CompilationResult, error) {
	return c.compile("user", x, c.compiler.CompileUserExpression)
}

func (c *sharedCompiler) compile(variable string, x cel.ExpressionAccessor, compile func(cel.ExpressionAccessor) (cel.CompilationResult, error)) (cel.CompilationResult, error) {
	key := expressionKey{variable, fmt.Sprintf("%T", x), x.GetExpression()}
	if result, ok := c.compiled.Get(key); ok {
		result.ExpressionAccessor = x // its message or key is the caller's own
		return result, nil
	}
	result, err := compile(x)
	if err == nil {
		c.compiled.Add(key, result)
	}
	return result, err
}
