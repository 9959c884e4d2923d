package expression

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
)

// generator makes expressions, most of them of the right types.
type generator struct {
	random  *rand.Rand
	strings []string // macros' variables that are strings
	lists   []string // and lists
	left    int      // nodes
}

func newGenerator(seed int64) *generator {
	return &generator{random: rand.New(rand.NewSource(seed)), left: 20}
}

func (g *generator) pick(from ...string) string { return from[g.random.Intn(len(from))] }

// rule chooses one of the rules while there are nodes left, else the first.
func (g *generator) rule(rules ...func() string) string {
	if g.left--; g.left < 0 {
		return rules[0]()
	}
	return rules[g.random.Intn(len(rules))]()
}

func form(format string, args ...func() string) func() string {
	return func() string {
		texts := make([]any, len(args))
		for i, arg := range args {
			texts[i] = arg()
		}
		return fmt.Sprintf(format, texts...)
	}
}

// with has a macro's variable while its body is made.
func (g *generator) with(vars *[]string, over func() string, format string, body func() string) func() string {
	return func() string {
		from, v := over(), fmt.Sprint("v", len(g.strings)+len(g.lists))
		*vars = append(*vars, v)
		defer func() { *vars = (*vars)[:len(*vars)-1] }()
		return fmt.Sprintf(format, from, v, body())
	}
}

func (g *generator) text() string {
	s, l, i, b, ll := g.text, g.list, g.number, g.condition, g.listOfLists
	return g.rule(
		func() string {
			if len(g.strings) > 0 && g.random.Intn(2) == 0 {
				return g.pick(g.strings...)
			}
			return g.pick(`"a"`, `""`, `"ab"`, `string(claims.s)`, `string(claims.s)`, `string(claims.missing)`)
		},
		form("(%s + %s)", s, s), form("(%s + %s)", s, s), form(`(%s ? %s : %s)`, b, s, s), form("%s[0]", l), form("%s[%s]", l, i), form("%s[?%s].orValue(%s)", l, i, s),
		form("%s.join(%s)", l, s), form("%s.join()", l), form("%s.replace(%s, %s)", s, s, s), form("%s.replace(%s, %s, %s)", s, s, s, i), form("%s.substring(%s)", s, i), form("%s.charAt(%s)", s, i),
		form("%s.lowerAscii()", s), form("%s.trim()", s), form("strings.quote(%s)", s), form(`%s.find("a+b?")`, s), form("string(%s)", i), form("string(bytes(%s))", s), form("%s.min()", l), form("%s.max()", l), form("%s.first().orValue(%s)", l, s),
		form("%s[0].join(%s)", ll, s), form("string(%s)", b), form("optional.of(%s).optMap(o, o + o).value()", s), form("claims.?missing.orValue(%s)", s),
	)
}

func (g *generator) list() string {
	s, l, i, b, ll := g.text, g.list, g.number, g.condition, g.listOfLists
	return g.rule(
		func() string {
			if len(g.lists) > 0 && g.random.Intn(2) == 0 {
				return g.pick(g.lists...)
			}
			return g.pick(`["a"]`, `dyn(claims.l)`, `dyn(claims.l)`, `["", "b"]`)
		},
		form("[%s, %s]", s, s), form("(%s + %s)", l, l), form("(%s + %s)", l, l), form("(%s + %s + %s)", l, l, l), form("(%s ? %s : %s)", b, l, l), form("%s.distinct()", l), form("%s.sort()", l), form("%s.reverse()", l), form("%s.slice(0, %s)", l, i),
		form("%s.split(%s)", s, s), form("%s.split(%s, %s)", s, s, i), form(`%s.findAll("a|b+")`, s), form("%s.flatten()", ll), form("%s[0]", ll), form("%s[%s]", ll, i), form("lists.range(%s).map(n, string(n))", i),
		g.with(&g.strings, l, "dyn(%s).map(%s, %s)", s), g.with(&g.strings, l, "dyn(%s).map(%s, %s)", s), g.with(&g.strings, l, "dyn(%s).filter(%s, %s)", b), g.with(&g.strings, l, "dyn(%s).transformList(n, %s, %s)", s),
		g.with(&g.strings, l, "dyn(%s).sortBy(%s, %s)", i), g.with(&g.lists, ll, "dyn(%s).map(%s, %s)[0]", l), g.with(&g.lists, ll, "dyn(%s).map(%s, %s)[0]", l), form("[?optional.of(%s), ?optional.none()]", s),
	)
}

func (g *generator) listOfLists() string {
	l, i, ll := g.list, g.number, g.listOfLists
	return g.rule(
		form("[%s]", l), form("[%s, %s]", l, l), form("(%s + %s)", ll, ll), form("%s.distinct()", ll), form("%s.reverse()", ll), form("[%s].flatten()", ll),
		g.with(&g.lists, ll, "dyn(%s).map(%s, %s)", l), g.with(&g.lists, ll, "dyn(%s).map(%s, %s)", l), g.with(&g.strings, l, "dyn(%s).map(%s, %s)", l), form("lists.range(%s).map(n, %s)", i, l), form("[{\"k\": %s}.k]", l),
	)
}

func (g *generator) number() string {
	s, l, i, ll := g.text, g.list, g.number, g.listOfLists
	return g.rule(
		func() string { return g.pick("0", "1", "3", "-1", "100000", "int(claims.n)") },
		form("(%s + %s)", i, i), form("(%s * %s)", i, i), form("size(%s)", s), form("size(%s)", l), form("size(%s)", ll), form("%s.indexOf(%s)", s, s), form("%s.lastIndexOf(%s)", s, s), form("%s.indexOf(%s)", l, s), form("int(%s)", s), form("{%s: %s}.size()", s, i),
		g.with(&g.strings, l, "dyn(%s).transformMapEntry(n, %s, {%s: n}).size()", s), form("lists.range(%s).sum()", i),
	)
}

func (g *generator) condition() string {
	s, l, i, b, ll := g.text, g.list, g.number, g.condition, g.listOfLists
	return g.rule(
		func() string { return g.pick("true", "false", "bool(claims.missing)", "has(claims.l)") },
		form(`({1: %s, "k": %s} == {1u: %s, "k": %s})`, s, l, s, l), form(`([{%s: 1}, {%s: %s}].distinct().size() == 1)`, s, s, i), form(`({"k": %s} in [{"k": %s}])`, l, l),
		form("(%s == %s)", s, s), form("(%s == %s)", l, l), form("(%s == %s)", ll, ll), form("(%s != %s)", ll, ll), form("(%s < %s)", s, s), form("(%s <= %s)", i, i), form("(%s in %s)", s, l), form("(%s in %s)", l, ll), form("(%s && %s)", b, b), form("(%s || %s)", b, b), form("!%s", b),
		form("%s.contains(%s)", s, s), form("%s.startsWith(%s)", s, s), form(`%s.matches("^(a|b)*$")`, s), form("sets.contains(%s, %s)", l, l), form("sets.intersects(%s, %s)", ll, ll), form("sets.equivalent(%s, %s)", l, l), form("%s.isSorted()", l),
		g.with(&g.strings, l, "dyn(%s).all(%s, %s)", b), g.with(&g.strings, l, "dyn(%s).exists(%s, %s)", b), g.with(&g.strings, l, "dyn(%s).exists_one(%s, %s)", b), g.with(&g.lists, ll, "dyn(%s).exists(%s, %s)", b), form("optional.ofNonZeroValue(%s).hasValue()", l),
	)
}

func (g *generator) expression() string {
	switch g.random.Intn(4) {
	case 0:
		return g.text()
	case 1:
		return g.condition()
	}
	return g.list()
}

// claims are of at most so many elements and bytes.
func (g *generator) claims(elements, bytes int) string {
	element := g.pick(`""`, `"a"`, `"ab"`, `"10.0.0.1"`)
	list := strings.TrimSuffix(strings.Repeat(element+",", g.random.Intn(elements)), ",")
	return fmt.Sprintf(`{"l":[%s],"s":%q,"n":%d}`, list, strings.Repeat(g.pick("a", "ab", "é"), g.random.Intn(bytes)), g.random.Intn(3))
}

// seeds is how many expressions of n are tried without -fuzz.
func seeds(n int64) int64 {
	if testing.Short() {
		return n / 4
	}
	return n
}

// FuzzBudget holds whatever expression on whatever claims to its budget: counted
// steps and allocated bytes, never the clock.
func FuzzBudget(f *testing.F) {
	for seed := range seeds(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed int64) {
		g := newGenerator(seed)
		_ = checkBudget(t, g.expression(), g.claims(2000, 3000))
	})
}

// FuzzAgreesWithCEL compares what an expression evaluates to with what cel-go's
// interpreter makes of it, on claims so small that it can.
func FuzzAgreesWithCEL(f *testing.F) {
	for seed := range seeds(400) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed int64) {
		g := newGenerator(seed)
		g.left = 12
		x := strings.ReplaceAll(g.expression(), "100000", "10")
		payload := g.claims(4, 3)
		want, wantErr := reference.CompileClaimsExpression(mappingOf(x))
		got, err := compiler.CompileClaimsExpression(mappingOf(x))
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%s\ncompiles: %v, cel-go: %v", x, err, wantErr)
		}
		if err != nil {
			return
		}
		ctx := context.Background()
		ours, ourErr := authenticationcel.NewClaimsMapper([]authenticationcel.CompilationResult{got}).EvalClaimMapping(ctx, claimsValue(t, payload))
		if errors.Is(ourErr, ErrBudget) || errors.Is(ourErr, errResult) {
			return
		}
		theirs, theirErr := authenticationcel.NewClaimsMapper([]authenticationcel.CompilationResult{want}).EvalClaimMapping(ctx, claimsValue(t, payload))
		if theirErr != nil && strings.Contains(theirErr.Error(), "internal error") {
			return // a panic of cel-go's
		}
		if a, b := printed(theirs.EvalResult, theirErr), printed(ours.EvalResult, ourErr); a != b {
			t.Errorf("%s\nof %s\ngot %s (%v), cel-go says %s (%v)", x, payload, b, ourErr, a, theirErr)
		}
	})
}
