package jwt

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/utils/clock"

	"frontproxy/authn/expression"
)

const (
	// maxOwnersExpressions bounds, in bytes that they keep allocated, the different
	// expressions of all configurations of one owner. A usual one takes 5 KiB.
	maxOwnersExpressions = 48 << 20
	// maxAllExpressions bounds those of all owners together. Once it is used up, each owner may
	// still have expressionsFloor; otherwise, somebody with many workspaces could leave others none.
	maxAllExpressions = 192 << 20
	expressionsFloor  = 1 << 20
	// buildTime is how long the expressions of one configuration may take to
	// compile; looked at before each one.
	buildTime = 5 * time.Second
)

// errBuildTime is the error of a configuration that is too costly to compile.
var errBuildTime = errors.New("its expressions take too long to compile; use fewer or simpler ones")

// sharedCompiler compiles each CEL expression once for all the configurations
// that use it: they are much alike, and validation compiles as well as building
// does. What nobody uses any more is forgotten. Programs are immutable and safe
// for concurrent use.
type sharedCompiler struct {
	compiler cel.Compiler
	clock    clock.PassiveClock
	limited  bool // the bounds above hold
	// most is maxOwnersExpressions, mostOfAll maxAllExpressions, floor expressionsFloor; tests set less.
	most, mostOfAll, floor int64

	mu       sync.Mutex // guards what follows
	compiled map[expressionKey]*compiledExpression
	owners   map[string]int64 // bytes that each owner's different expressions keep
	all      int64            // bytes that all different expressions keep
}

// expressionKey has the accessor's type, as that tells the result type wanted.
type expressionKey struct{ variable, accessor, expression string }

type compiledExpression struct {
	result cel.CompilationResult
	bytes  int64          // what it keeps allocated
	users  map[string]int // compilations of each owner
}

// newSharedCompiler does nothing costly before the first expression: configurations
// that map claims as they are need no CEL.
func newSharedCompiler(clk clock.PassiveClock, limited bool) *sharedCompiler {
	return &sharedCompiler{
		compiler: expression.NewCompiler(), clock: clk, limited: limited,
		most: maxOwnersExpressions, mostOfAll: maxAllExpressions, floor: expressionsFloor,
		compiled: map[expressionKey]*compiledExpression{}, owners: map[string]int64{},
	}
}

// compilation is the compiler of one configuration. It is used by one goroutine
// at a time. What it compiled is kept until release.
type compilation struct {
	shared *sharedCompiler
	owner  string
	end    time.Time
	keys   map[expressionKey]cel.CompilationResult
	held   []expressionKey // to be let go of; those that do not compile too
}

// begin starts a configuration of owner.
func (s *sharedCompiler) begin(owner string) *compilation {
	return &compilation{shared: s, owner: owner, end: s.clock.Now().Add(buildTime), keys: map[expressionKey]cel.CompilationResult{}}
}

func (c *compilation) CompileClaimsExpression(x cel.ExpressionAccessor) (cel.CompilationResult, error) {
	return c.compile("claims", x, c.shared.compiler.CompileClaimsExpression)
}

func (c *compilation) CompileUserExpression(x cel.ExpressionAccessor) (cel.CompilationResult, error) {
	return c.compile("user", x, c.shared.compiler.CompileUserExpression)
}

func (c *compilation) compile(variable string, x cel.ExpressionAccessor, compile func(cel.ExpressionAccessor) (cel.CompilationResult, error)) (cel.CompilationResult, error) {
	key := expressionKey{variable, fmt.Sprintf("%T", x), x.GetExpression()}
	result, ok := c.keys[key]
	if !ok {
		var err error
		if result, err = c.first(key, x, compile); err != nil {
			return result, err
		}
		c.keys[key] = result
	}
	result.ExpressionAccessor = x // its message or key is the caller's own
	return result, nil
}

// first returns what others compiled, or compiles the expression.
func (c *compilation) first(key expressionKey, x cel.ExpressionAccessor, compile func(cel.ExpressionAccessor) (cel.CompilationResult, error)) (cel.CompilationResult, error) {
	if c.shared.limited && c.shared.clock.Now().After(c.end) {
		return cel.CompilationResult{}, errBuildTime
	}
	bytes := int64(len(key.expression))
	if c.shared.limited {
		if size, err := expression.SizeOf(key.expression); err == nil { // else it does not compile
			bytes = size.Bytes
		}
	}
	result, ok, err := c.shared.enter(c.owner, key, bytes)
	if err != nil {
		return result, err
	}
	c.held = append(c.held, key)
	if ok {
		return result, nil
	}
	if result, err = compile(x); err == nil {
		c.shared.keep(key, result)
	}
	return result, err
}

// release gives up all that was compiled.
func (c *compilation) release() {
	for _, key := range c.held {
		c.shared.leave(c.owner, key)
	}
	c.held, c.keys = nil, nil
}

// enter counts one more use of key by the owner; bytes is what its result will take. It returns
// the result if somebody has compiled it already. The error says that the owner, or all owners together,
// have too many expressions.
func (s *sharedCompiler) enter(owner string, key expressionKey, bytes int64) (result cel.CompilationResult, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, first := s.compiled[key], false
	if e == nil {
		e, first = &compiledExpression{bytes: bytes, users: map[string]int{}}, true
	}
	if e.users[owner] == 0 {
		own := s.owners[owner] + e.bytes
		switch {
		case !s.limited:
		case own > s.most:
			return result, false, fmt.Errorf("the CEL expressions of all configurations of %s together have more than %d bytes once compiled; remove some", owner, s.most)
		case first && own > s.floor && s.all+bytes > s.mostOfAll:
			return result, false, fmt.Errorf("the CEL expressions of all configurations of %s together have more than %d bytes once compiled, and those of all workspaces have no room for more; remove some", owner, s.floor)
		}
		s.owners[owner] = own
	}
	if first {
		s.all += bytes
	}
	e.users[owner]++
	s.compiled[key] = e
	return e.result, e.result.Program != nil, nil
}

// keep stores the result for later users. If two compile an expression at once, both store it.
func (s *sharedCompiler) keep(key expressionKey, result cel.CompilationResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compiled[key].result = result
}

// leave is the reverse of enter.
func (s *sharedCompiler) leave(owner string, key expressionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.compiled[key]
	if e.users[owner]--; e.users[owner] > 0 {
		return
	}
	delete(e.users, owner)
	if s.owners[owner] -= e.bytes; s.owners[owner] == 0 {
		delete(s.owners, owner)
	}
	if len(e.users) == 0 {
		s.all -= e.bytes
		delete(s.compiled, key)
	}
}
