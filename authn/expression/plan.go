package expression

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/parser"
)

// planner turns one checked expression into nodes.
type planner struct {
	*environment
	checked *ast.AST
	input   string // the variable's name
	scope   []scoped
	slots   int
}

// scoped is a macro's variable that is in scope.
type scoped struct {
	name  string
	slot  int
	grows bool // it is a macro's accumulator, which is appended to in place
}

func (p *planner) plan(x ast.Expr) (node, error) {
	switch x.Kind() {
	case ast.LiteralKind:
		return constant{x.AsLiteral()}, nil
	case ast.IdentKind:
		return p.identifier(x, x.AsIdent())
	case ast.SelectKind:
		return p.selection(x)
	case ast.CallKind:
		return p.call(x)
	case ast.ListKind:
		return p.listing(x.AsList())
	case ast.MapKind:
		return p.mapLiteral(x.AsMap())
	case ast.ComprehensionKind:
		return p.fold(x.AsComprehension())
	case ast.StructKind:
		return nil, fmt.Errorf("objects of type %s are not supported here", x.AsStruct().TypeName())
	default:
		return nil, errors.New("unknown kind of expression")
	}
}

func (p *planner) all(exprs []ast.Expr) ([]node, error) {
	nodes := make([]node, len(exprs))
	for i, x := range exprs {
		var err error
		if nodes[i], err = p.plan(x); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// identifier plans a variable or a type.
func (p *planner) identifier(x ast.Expr, name string) (node, error) {
	if r, ok := p.checked.ReferenceMap()[x.ID()]; ok {
		if r.Value != nil {
			return constant{r.Value}, nil
		}
		if p.checked.GetType(x.ID()).Kind() == types.TypeKind {
			v, found := p.provider.FindIdent(r.Name)
			if !found {
				return nil, fmt.Errorf("unknown type %s", r.Name)
			}
			return constant{v}, nil
		}
		name = r.Name
	}
	if s, ok := p.find(name); ok {
		return local{s.slot}, nil
	}
	if name == p.input {
		return variable{}, nil
	}
	return nil, fmt.Errorf("unknown variable %s", name)
}

func (p *planner) find(name string) (scoped, bool) {
	for i := len(p.scope) - 1; i >= 0; i-- {
		if p.scope[i].name == name {
			return p.scope[i], true
		}
	}
	return scoped{}, false
}

func (p *planner) selection(x ast.Expr) (node, error) {
	if _, ok := p.checked.ReferenceMap()[x.ID()]; ok {
		return p.identifier(x, "")
	}
	s := x.AsSelect()
	operand, err := p.plan(s.Operand())
	if err != nil {
		return nil, err
	}
	return &selection{operand: operand, key: constant{types.String(s.FieldName())}, test: s.IsTestOnly()}, nil
}

func (p *planner) listing(l ast.ListExpr) (*listing, error) {
	elems, err := p.all(l.Elements())
	if err != nil {
		return nil, err
	}
	n := &listing{elems: elems, optional: make([]bool, len(elems))}
	for i := range elems {
		n.optional[i] = l.IsOptional(int32(i)) //nolint:gosec // far fewer
	}
	return n, nil
}

func (p *planner) mapLiteral(m ast.MapExpr) (node, error) {
	n := &mapLiteral{}
	for _, entry := range m.Entries() {
		e := entry.AsMapEntry()
		both, err := p.all([]ast.Expr{e.Key(), e.Value()})
		if err != nil {
			return nil, err
		}
		n.keys, n.values, n.optional = append(n.keys, both[0]), append(n.values, both[1]), append(n.optional, e.IsOptional())
	}
	return n, nil
}

// call plans operators and functions.
func (p *planner) call(x ast.Expr) (node, error) {
	c := x.AsCall()
	exprs := c.Args()
	if c.IsMemberFunction() {
		exprs = append([]ast.Expr{c.Target()}, exprs...)
	}
	if n, err := p.step(c, exprs); n != nil || err != nil {
		return n, err
	}
	if n, err := p.match(c, exprs); n != nil || err != nil {
		return n, err
	}
	args, err := p.all(exprs)
	if err != nil {
		return nil, err
	}
	if n := operator(c.FunctionName(), args); n != nil {
		return n, nil
	}
	return p.function(x, c.FunctionName(), args)
}

// operator returns the node of an operator or function that has one of its own, or nil.
func operator(name string, args []node) node {
	switch name {
	case operators.LogicalAnd:
		return &logical{args[0], args[1], types.False}
	case operators.LogicalOr:
		return &logical{args[0], args[1], types.True}
	case operators.Conditional:
		return &conditional{args[0], args[1], args[2]}
	case operators.Equals, operators.NotEquals:
		return &equality{args[0], args[1], name == operators.NotEquals}
	case operators.Index:
		return &selection{operand: args[0], key: args[1]}
	case operators.OptIndex, operators.OptSelect:
		return &selection{operand: args[0], key: args[1], optional: true}
	case operators.NotStrictlyFalse:
		return notFalse{args[0]}
	case "or", "orValue":
		return &either{args[0], args[1], name == "orValue"}
	}
	return nil
}

// function plans a call of a function in the table allowed.
func (p *planner) function(x ast.Expr, name string, args []node) (node, error) {
	f, ok := allowed[name]
	if !ok {
		return nil, fmt.Errorf("%s() is not supported here: its cost is not bounded; docs/workspace-authentication.md lists what is supported", name)
	}
	n := &call{name: name, args: args, price: f, impl: p.implementations[name]}
	if r, ok := p.checked.ReferenceMap()[x.ID()]; ok && len(r.OverloadIDs) == 1 {
		n.overload = r.OverloadIDs[0]
		n.impl = cmp.Or(p.implementations[n.overload], n.impl)
	}
	switch name {
	case operators.Add:
		return sum{n}, nil
	case "join":
		args[0] = texts{args[0]}
	}
	return n, nil
}

// step plans the step of a macro that creates a list or a map; nil if c is not one.
func (p *planner) step(c ast.CallExpr, exprs []ast.Expr) (node, error) {
	if len(exprs) == 0 || exprs[0].Kind() != ast.IdentKind {
		return nil, nil
	}
	s, ok := p.find(exprs[0].AsIdent())
	if !ok || !s.grows {
		return nil, nil
	}
	switch name := c.FunctionName(); {
	case name == operators.Add && len(exprs) == 2 && exprs[1].Kind() == ast.ListKind:
		elem, err := p.listing(exprs[1].AsList())
		return growing{s.slot, elem}, err
	case name == "cel.@mapInsert" && len(exprs) > 1:
		args, err := p.all(exprs[1:])
		if err != nil {
			return nil, err
		}
		n := &inserting{slot: s.slot, key: args[0]}
		if len(args) > 1 {
			n.value = args[1]
		}
		return n, nil
	}
	return nil, errors.New("unknown macro")
}

// grows reports whether a macro's accumulator is only ever appended to: it starts
// empty and has the name that no expression can spell.
func grows(f ast.ComprehensionExpr) bool {
	if f.AccuVar() != parser.HiddenAccumulatorName {
		return false
	}
	start := f.AccuInit()
	return start.Kind() == ast.ListKind && start.AsList().Size() == 0 || start.Kind() == ast.MapKind && start.AsMap().Size() == 0
}

func (p *planner) fold(f ast.ComprehensionExpr) (node, error) {
	n := &fold{grows: grows(f), second: -1}
	var err error
	if n.over, err = p.plan(f.IterRange()); err != nil {
		return nil, err
	}
	if n.start, err = p.plan(f.AccuInit()); err != nil {
		return nil, err
	}
	outer := len(p.scope)
	defer func() { p.scope = p.scope[:outer] }()
	n.accumulator = p.enter(f.AccuVar(), n.grows)
	inner := len(p.scope)
	n.first = p.enter(f.IterVar(), false)
	if f.HasIterVar2() {
		n.second = p.enter(f.IterVar2(), false)
	}
	if n.condition, err = p.plan(f.LoopCondition()); err != nil {
		return nil, err
	}
	if n.step, err = p.plan(f.LoopStep()); err != nil {
		return nil, err
	}
	p.scope = p.scope[:inner]
	n.result, err = p.plan(f.Result())
	return n, err
}

func (p *planner) enter(name string, grows bool) (slot int) {
	slot = p.slots
	p.slots++
	p.scope = append(p.scope, scoped{name, slot, grows})
	return slot
}

// pattern is a regular expression, compiled.
type pattern struct {
	compiled *regexp.Regexp
	size     int64 // instructions
}

const (
	// instructionBytes is the state of an instruction while text is read.
	instructionBytes = 160
	// readerBytes is a reader of a string.
	readerBytes = 96
)

// price returns what searching a string of the given length takes. The time of Go's regular
// expressions is proportional to the lengths of string and program. If the product is small,
// they may keep each pair of positions to come back to, in a list that grows.
func (p *pattern) price(length int64) (steps, bytes int64) {
	pairs := times(length, p.size)
	return 4 + pairs/4, min(pairs, 256<<10) * 192
}

// match plans the functions with a regular expression, which must be a literal; nil if c is
// not one of them.
func (p *planner) match(c ast.CallExpr, exprs []ast.Expr) (node, error) {
	name := c.FunctionName()
	switch name {
	case "matches", "find", "findAll":
	default:
		return nil, nil
	}
	if len(exprs) < 2 || exprs[1].Kind() != ast.LiteralKind {
		return nil, fmt.Errorf("%s() is allowed only with a literal pattern: the size of a pattern from a token has no limit", name)
	}
	text, ok := exprs[1].AsLiteral().Value().(string)
	if !ok {
		return nil, fmt.Errorf("%s() needs a pattern", name)
	}
	program, err := compilePattern(text)
	if err != nil {
		return nil, err
	}
	// The empty group changes no match. Without it, package regexp compiles a pattern that begins
	// with ^ a second time, in a form where each instruction has its own copy of its character
	// class: ^\pC{900}$ keeps eight megabytes.
	compiled, err := regexp.Compile("()" + text)
	if err != nil {
		return nil, err
	}
	n := &match{name: name, pattern: &pattern{compiled, int64(len(program.Inst))}}
	if n.text, err = p.plan(exprs[0]); err != nil {
		return nil, err
	}
	if len(exprs) > 2 {
		n.limit, err = p.plan(exprs[2])
	}
	return n, err
}

// compilePattern compiles a pattern to the program that package regexp would run. It refuses
// the patterns that regexp refuses.
func compilePattern(text string) (*syntax.Prog, error) {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	return syntax.Compile(parsed.Simplify())
}
