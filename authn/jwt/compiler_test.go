package jwt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/cel"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/expression"
	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer"
	"frontproxy/authn/issuer/issuertest"
)

// countingCompiler counts what is really compiled.
type countingCompiler struct {
	cel.Compiler
	compiled []string
	after    func()
}

func (c *countingCompiler) CompileClaimsExpression(x cel.ExpressionAccessor) (cel.CompilationResult, error) {
	c.compiled = append(c.compiled, x.GetExpression())
	if c.after != nil {
		c.after()
	}
	return c.Compiler.CompileClaimsExpression(x)
}

func rule(expression string) cel.ExpressionAccessor {
	return &cel.ClaimValidationCondition{Expression: expression}
}

// TestExpressionsAreCompiledOnce for all who use them, and forgotten with the
// last of these.
func TestExpressionsAreCompiledOnce(t *testing.T) {
	shared := newSharedCompiler(clocktesting.NewFakePassiveClock(time.Unix(0, 0)), true)
	counting := &countingCompiler{Compiler: shared.compiler}
	shared.compiler = counting
	var all []*compilation
	for _, owner := range []string{"a", "a", "b"} {
		c := shared.begin(owner)
		all = append(all, c)
		for range 2 {
			if _, err := c.CompileClaimsExpression(rule("claims.sub == 'x'")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.CompileClaimsExpression(rule("claims.")); err == nil {
				t.Error("what is no expression compiles")
			}
		}
	}
	good := 0
	for _, e := range counting.compiled {
		if e == "claims.sub == 'x'" {
			good++
		}
	}
	if good != 1 {
		t.Errorf("compiled %d times", good)
	}
	all[0].release()
	all[2].release()
	if diff := cmp.Diff([]int{1, 2}, []int{len(shared.owners), len(shared.compiled)}); diff != "" {
		t.Errorf("owners and expressions with one user left (-want +got):\n%s", diff)
	}
	if _, err := shared.begin("c").CompileClaimsExpression(rule("claims.sub == 'x'")); err != nil || len(counting.compiled) > 10 {
		t.Error(err)
	}
	all[1].release()
	all[1].release() // does nothing
	if len(shared.owners) != 1 || len(shared.compiled) != 1 {
		t.Errorf("left over: %v %v", shared.owners, shared.compiled)
	}
}

// TestOwnersExpressionsAreBounded: the different ones, of all configurations
// together, of tenants.
func TestOwnersExpressionsAreBounded(t *testing.T) {
	shared := newSharedCompiler(clocktesting.NewFakePassiveClock(time.Unix(0, 0)), true)
	text := func(i int) string {
		return fmt.Sprintf("claims.sub.matches('^%07da{900}b{1000}c{1000}d{1000}e{1000}$')", i)
	}
	size, err := expression.SizeOf(text(0))
	if err != nil {
		t.Fatal(err)
	}
	var held []*compilation
	if shared.most != maxOwnersExpressions {
		t.Errorf("an owner may have %d bytes, want %d", shared.most, maxOwnersExpressions)
	}
	shared.most = 10 * size.Bytes
	for i := range 10 {
		for range 2 { // the second time it is no other expression
			held = append(held, shared.begin("a"))
			if _, err := held[len(held)-1].CompileClaimsExpression(rule(text(i))); err != nil {
				t.Fatal(i, err)
			}
		}
	}
	more := text(1 << 20)
	if _, err := shared.begin("a").CompileClaimsExpression(rule(more)); err == nil || !strings.Contains(err.Error(), "configurations of a together have more than") {
		t.Errorf("one more: %v", err)
	}
	for owner, limited := range map[string]bool{"b": true, "a": false} {
		shared.limited = limited
		if _, err := shared.begin(owner).CompileClaimsExpression(rule(more)); err != nil {
			t.Errorf("of %s, limited %v: %v", owner, limited, err)
		}
	}
	shared.limited = true
	held[0].release()
	held[1].release()
	if _, err := shared.begin("a").CompileClaimsExpression(rule(more)); err != nil {
		t.Errorf("in the place of another: %v", err)
	}
}

// TestAllExpressionsAreBounded: a tenant may have many workspaces. Those of all owners are bounded
// together, and the next one still has a few.
func TestAllExpressionsAreBounded(t *testing.T) {
	shared := newSharedCompiler(clocktesting.NewFakePassiveClock(time.Unix(0, 0)), true)
	text := func(i int) string { return fmt.Sprintf("claims.sub == '%07d'", i) }
	size, err := expression.SizeOf(text(0))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := [...]int64{shared.mostOfAll, shared.floor}, [...]int64{maxAllExpressions, expressionsFloor}; got != want {
		t.Errorf("all owners may have, and each in any case: %d, want %d", got, want)
	}
	shared.mostOfAll, shared.floor = 10*size.Bytes, 2*size.Bytes
	var held []*compilation
	compile := func(owner string, i int) error {
		c := shared.begin(owner)
		held = append(held, c)
		_, err := c.CompileClaimsExpression(rule(text(i)))
		return err
	}
	for i := range 10 {
		if err := compile(fmt.Sprint("tenant", i%2), i); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := compile("tenant0", 10); err == nil || !strings.Contains(err.Error(), "all workspaces have no room for more") {
		t.Errorf("one more than all may have: %v", err)
	}
	if err := compile("tenant0", 1); err != nil {
		t.Errorf("one that another owner has: %v", err)
	}
	for i := range 3 {
		if err := compile("other", 20+i); (err == nil) != (i < 2) {
			t.Errorf("number %d of an owner who has few: %v", i, err)
		}
	}
	for _, c := range held {
		c.release()
	}
	if shared.all != 0 {
		t.Errorf("%d bytes are counted for nobody", shared.all)
	}
}

// TestOwnersExpressionsAreBoundedAsCompiled: a short text that is large once it is
// compiled counts as what it keeps.
func TestOwnersExpressionsAreBoundedAsCompiled(t *testing.T) {
	for name, text := range map[string]string{
		"macros that repeat": "claims.?a%d" + strings.Repeat(".optMap(x, x)", 4) + ".hasValue()",
		"character classes":  `claims.sub.matches(r'%d` + strings.Repeat(`\pC`, 300) + `')`,
	} {
		t.Run(name, func(t *testing.T) {
			shared := newSharedCompiler(clocktesting.NewFakePassiveClock(time.Unix(0, 0)), true)
			shared.most = maxOwnersExpressions / 8
			bytes := 0
			for i := 0; ; i++ {
				x := fmt.Sprintf(text, i)
				if bytes += len(x); bytes > 32<<10 {
					t.Fatalf("%d expressions are compiled, refused is none", i)
				}
				if _, err := shared.begin("a").CompileClaimsExpression(rule(x)); err != nil {
					if !strings.Contains(err.Error(), "configurations of a together have more than") {
						t.Error(err)
					}
					return
				}
			}
		})
	}
}

// TestBuildTime: a configuration ends before the expression that comes after its
// time, and lets go of all.
func TestBuildTime(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	clk := clocktesting.NewFakeClock(time.Now())
	b := NewBuilder(Config{Issuers: tokentest.RunPool(t, issuer.Config{}), Clock: clk, Name: entryAt})
	shared := b.compiler
	counting := &countingCompiler{Compiler: shared.compiler, after: func() { clk.SetTime(clk.Now().Add(time.Second)) }}
	shared.compiler = counting
	var rules []any
	for i := range 20 {
		rules = append(rules, tokentest.Object{"expression": fmt.Sprintf("claims.sub != '%d'", i)})
	}
	spec, err := ParseSpec([]byte(tokentest.SpecFor(s, tokentest.With(rules, "claimValidationRules"))))
	if err != nil {
		t.Fatal(err)
	}
	b.config.Limited, shared.limited = true, true
	if _, err := b.Build("c1", "slow", spec); err == nil || !strings.Contains(err.Error(), errBuildTime.Error()) {
		t.Errorf("built: %v", err)
	}
	if got := len(counting.compiled); got != 6 {
		t.Errorf("%d expressions were compiled in 5 s of one each", got)
	}
	if len(shared.compiled)+len(shared.owners) != 0 {
		t.Errorf("left over: %d expressions of %d owners", len(shared.compiled), len(shared.owners))
	}
	b.config.Limited, shared.limited = false, false
	built, err := b.Build("c1", "slow", spec)
	if err != nil || errors.Is(err, errBuildTime) {
		t.Fatalf("the operator's: %v", err)
	}
	built.Close()
	if len(shared.compiled) != 0 {
		t.Errorf("left over after the end: %d expressions", len(shared.compiled))
	}
}
