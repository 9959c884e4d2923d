package expression

import (
	"fmt"
	"math"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	apiserverenvironment "k8s.io/apiserver/pkg/cel/environment"
)

// MaxNodes is how many nodes an expression may have once its macros are expanded.
// Text of one page has fewer, but optMap() and optFlatMap() repeat what they are
// called on: thirty in a row, in 400 bytes, would be a billion.
const MaxNodes = 10_000

// Size is what an expression takes once it is compiled, at most.
type Size struct {
	// Nodes are its parts, with its macros expanded.
	Nodes int
	// Instructions are those of its regular expressions together.
	Instructions int
	// Bytes is about what it keeps allocated.
	Bytes int64
}

const (
	// expressionBytes is what the smallest expression keeps in addition to its text.
	expressionBytes = 2 << 10
	// nodeBytes is what one node keeps: its syntax tree, its type and its plan.
	nodeBytes = 300
	// instructionSize is an instruction of a pattern, runeBytes a rune of a
	// character class: a class such as \pC, of three bytes, has two thousand.
	instructionSize, runeBytes = 48, 4
)

// withoutMacros parses macros as calls.
var withoutMacros = sync.OnceValues(func() (*celgo.Env, error) {
	base := apiserverenvironment.MustBaseEnvSet(apiserverenvironment.DefaultCompatibilityVersion())
	return base.StoredExpressionsEnv().Extend(celgo.ClearMacros())
})

// SizeOf computes the size of an expression without expanding its macros or compiling
// it. It returns an error if the expression has more than MaxNodes nodes or cannot be
// parsed. A pattern that does not compile counts as nothing.
func SizeOf(text string) (Size, error) {
	env, err := withoutMacros()
	if err != nil {
		return Size{}, err
	}
	parsed, issues := env.Parse(text)
	if err := issues.Err(); err != nil {
		return Size{}, err
	}
	s := sizeOf(ast.NavigateAST(parsed.NativeRep()))
	if s.Nodes > MaxNodes {
		return Size{}, fmt.Errorf("the expression has more than %d nodes after macro expansion", MaxNodes)
	}
	s.Bytes += expressionBytes + 4*int64(len(text)) + int64(s.Nodes)*nodeBytes
	return s, nil
}

// plus returns the sum, bounded so that it cannot overflow: nested macros double what they
// repeat.
func (s Size) plus(t Size) Size {
	return Size{min(s.Nodes+t.Nodes, MaxNodes+1), min(s.Instructions+t.Instructions, math.MaxInt32), min(s.Bytes+t.Bytes, heavy)}
}

// macroNodes is how many nodes a macro adds.
const macroNodes = 12

func sizeOf(x ast.NavigableExpr) Size {
	s, first := Size{Nodes: 1}, Size{}
	for i, child := range x.Children() { // a call's target comes first
		of := sizeOf(child)
		if i == 0 {
			first = of
		}
		s = s.plus(of)
	}
	if x.Kind() != ast.CallKind {
		return s
	}
	c := x.AsCall()
	switch c.FunctionName() {
	case "matches", "find", "findAll":
		return s.plus(sizeOfPattern(c))
	case "optMap", "optFlatMap":
		if c.IsMemberFunction() {
			return s.plus(first).plus(Size{Nodes: macroNodes})
		}
	case "all", "exists", "exists_one", "existsOne", "map", "filter", "transformList", "transformMap", "transformMapEntry", "sortBy":
		if c.IsMemberFunction() {
			return s.plus(Size{Nodes: macroNodes})
		}
	}
	return s
}

// sizeOfPattern returns the size of the literal pattern in x.matches(p), x.find(p),
// x.findAll(p[, n]) or matches(x, p).
func sizeOfPattern(c ast.CallExpr) Size {
	args := c.Args()
	if !c.IsMemberFunction() && len(args) > 0 {
		args = args[1:]
	}
	if len(args) == 0 || args[0].Kind() != ast.LiteralKind {
		return Size{}
	}
	text, ok := args[0].AsLiteral().Value().(string)
	if !ok {
		return Size{}
	}
	program, err := compilePattern(text)
	if err != nil {
		return Size{} // the compiler refuses it
	}
	s := Size{Instructions: len(program.Inst), Bytes: int64(len(program.Inst)) * instructionSize}
	classes := map[*rune]bool{} // what is repeated shares its class
	for i := range program.Inst {
		if runes := program.Inst[i].Rune; len(runes) > 0 && !classes[&runes[0]] {
			classes[&runes[0]] = true
			s.Bytes += int64(cap(runes)) * runeBytes
		}
	}
	return s
}
