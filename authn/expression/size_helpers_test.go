package expression

import (
	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
)

// count is how many nodes a parsed expression has.
func count(parsed *celgo.Ast) (n int) {
	ast.PostOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(ast.Expr) { n++ }))
	return n
}
