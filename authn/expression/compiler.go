package expression

import (
	"context"
	"errors"
	"fmt"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	apiserverenvironment "k8s.io/apiserver/pkg/cel/environment"
)

// Compiler compiles expressions as apiserver's authentication does, to programs
// that are bounded as the package says. It is safe for concurrent use. Its first
// expression takes a tenth of a second more, and depends on feature gates.
type Compiler struct {
	environment func() *environment
}

var _ authenticationcel.Compiler = (*Compiler)(nil)

// NewCompiler does nothing yet.
func NewCompiler() *Compiler { return &Compiler{sync.OnceValue(newEnvironment)} }

// environment has what expressions are checked and planned with.
type environment struct {
	checker         authenticationcel.Compiler
	provider        types.Provider
	implementations map[string]*functions.Overload // by name and by overload
}

func newEnvironment() *environment {
	base := apiserverenvironment.MustBaseEnvSet(apiserverenvironment.DefaultCompatibilityVersion())
	env := base.StoredExpressionsEnv()
	out := &environment{checker: authenticationcel.NewCompiler(base), provider: env.CELTypeProvider(), implementations: map[string]*functions.Overload{}}
	for _, f := range env.Functions() {
		bindings, err := f.Bindings()
		if err != nil {
			panic(fmt.Sprintf("apiserver's CEL environment: %v", err)) // as apiserver does
		}
		for _, b := range bindings {
			out.implementations[b.Operator] = b
		}
	}
	return out
}

// CompileClaimsExpression implements apiserver's Compiler.
func (c *Compiler) CompileClaimsExpression(x authenticationcel.ExpressionAccessor) (authenticationcel.CompilationResult, error) {
	return c.compile("claims", x, authenticationcel.Compiler.CompileClaimsExpression)
}

// CompileUserExpression implements apiserver's Compiler.
func (c *Compiler) CompileUserExpression(x authenticationcel.ExpressionAccessor) (authenticationcel.CompilationResult, error) {
	return c.compile("user", x, authenticationcel.Compiler.CompileUserExpression)
}

func (c *Compiler) compile(input string, x authenticationcel.ExpressionAccessor, check func(authenticationcel.Compiler, authenticationcel.ExpressionAccessor) (authenticationcel.CompilationResult, error)) (authenticationcel.CompilationResult, error) {
	if _, err := SizeOf(x.GetExpression()); err != nil {
		return authenticationcel.CompilationResult{}, invalid(err)
	}
	env := c.environment()
	result, err := check(env.checker, x)
	if err != nil {
		return result, err
	}
	p := &planner{environment: env, checked: result.AST.NativeRep(), input: input}
	root, err := p.plan(result.AST.NativeRep().Expr())
	if err != nil {
		return authenticationcel.CompilationResult{}, invalid(err)
	}
	result.Program = &program{root: root, input: input, vars: p.slots}
	return result, nil
}

// invalid makes err an error of the expression, in the form that apiserver's validation expects.
func invalid(err error) error {
	return &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: "compilation failed: " + err.Error()}
}

// program is an expression, ready to run. It is immutable.
type program struct {
	root  node
	input string
	vars  int
}

var (
	errResult     = fmt.Errorf("the result has more than %d bytes", MaxResultBytes)
	errResultType = errors.New("the result is neither a string nor a list of strings, a boolean, a number or null")
)

func (p *program) Eval(input any) (ref.Val, *celgo.EvalDetails, error) {
	return p.ContextEval(context.Background(), input)
}

// ConcurrentEval implements cel.Program. No function is asynchronous, so it has
// the result when it returns.
func (p *program) ConcurrentEval(ctx context.Context, input any) <-chan celgo.EvalResult {
	v, details, err := p.ContextEval(ctx, input)
	out := make(chan celgo.EvalResult, 1)
	out <- celgo.EvalResult{Val: v, EvalDetails: details, Err: err}
	return out
}

// ContextEval implements cel.Program. It charges the context's Budget and ends
// with the context.
func (p *program) ContextEval(ctx context.Context, input any) (v ref.Val, _ *celgo.EvalDetails, err error) {
	activation, ok := input.(interpreter.Activation)
	if !ok {
		return nil, nil, fmt.Errorf("evaluation of a %T", input)
	}
	variable, _ := activation.ResolveName(p.input)
	value, ok := variable.(ref.Val)
	if !ok {
		return nil, nil, fmt.Errorf("the variable %s is a %T", p.input, variable)
	}
	budget, ok := ctx.Value(budgetKey{}).(*Budget)
	if !ok {
		budget = NewBudget(0)
	}
	budget.used = true
	e := &evaluation{ctx: ctx, budget: budget}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stopped:
			v, err = nil, r.err
		default:
			v, err = nil, fmt.Errorf("internal error: %v", r) // as cel-go does
		}
	}()
	e.charge(8, 256+slotBytes*int64(p.vars))
	e.input = value
	e.vars = make([]ref.Val, p.vars)
	v = p.root.eval(e)
	if failed, ok := v.(*types.Err); ok {
		return nil, nil, failed
	}
	v, err = e.result(v)
	return v, nil, err
}
