package expression

import (
	"fmt"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	apiserverenvironment "k8s.io/apiserver/pkg/cel/environment"
)

// MaxNodes is how many nodes an expression may have once its macros are expanded.
// Text of one page has fewer, but optMap() and optFlatMap() repeat what they are
// called on: thirty in a row, in 400 bytes, would be a billion.
const MaxNodes = 10_000

// withoutMacros parses macros as calls.
var withoutMacros = sync.OnceValues(func() (*celgo.Env, error) {
	base := apiserverenvironment.MustBaseEnvSet(apiserverenvironment.DefaultCompatibilityVersion())
	return base.StoredExpressionsEnv().Extend(celgo.ClearMacros())
})

// Nodes is how many nodes an expression has at most once its macros are expanded,
// worked out without expanding them. It is an error if they are more than MaxNodes
// or if the text is no expression.
func Nodes(text string) (int, error) {
	env, err := withoutMacros()
	if err != nil {
		return 0, err
	}
	parsed, issues := env.Parse(text)
	if err := issues.Err(); err != nil {
		return 0, err
	}
	n := nodes(ast.NavigateAST(parsed.NativeRep()))
	if n > MaxNodes {
		return 0, fmt.Errorf("the expression has more than %d parts once its macros are expanded", MaxNodes)
	}
	return n, nil
}

// macroNodes is what a macro adds of its own.
const macroNodes = 12

func nodes(x ast.NavigableExpr) int {
	n, first := 1, 0
	for i, child := range x.Children() { // a call's target comes first
		of := nodes(child)
		if i == 0 {
			first = of
		}
		n = min(n+of, MaxNodes+1)
	}
	if x.Kind() != ast.CallKind || !x.AsCall().IsMemberFunction() {
		return n
	}
	switch x.AsCall().FunctionName() {
	case "optMap", "optFlatMap":
		return min(n+first+macroNodes, MaxNodes+1)
	case "all", "exists", "exists_one", "existsOne", "map", "filter", "transformList", "transformMap", "transformMapEntry", "sortBy":
		return min(n+macroNodes, MaxNodes+1)
	}
	return n
}
