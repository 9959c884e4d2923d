package expression

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	apiserverenvironment "k8s.io/apiserver/pkg/cel/environment"
)

// allocated is what f allocates, garbage included. The collector is off
// meanwhile: it empties pools, and what fills them again is nobody's.
func allocated(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc) //nolint:gosec // far less
}

// slack is what the test itself, apiserver's mapper and pools that are filled once
// allocate.
const slack = 64 << 10

// checkBudget evaluates x and holds what it took to its budget. It never looks at
// the clock.
func checkBudget(t *testing.T, x, payload string) error {
	t.Helper()
	compiled, err := compiler.CompileClaimsExpression(mappingOf(x))
	if err != nil {
		return err
	}
	budget := NewBudget(len(payload))
	ctx := WithBudget(context.Background(), budget)
	mapper := authenticationcel.NewClaimsMapper([]authenticationcel.CompilationResult{compiled})
	claims := claimsValue(t, payload)
	took := allocated(func() { _, err = mapper.EvalClaimMapping(ctx, claims) })
	steps, bytes := budget.Spent()
	if steps > MaxSteps || bytes > MaxBytes {
		t.Errorf("%s\ncharged %d steps and %d bytes", x, steps, bytes)
	}
	if took > bytes+slack {
		t.Errorf("%s\nof %.200s\nallocated %d bytes, charged %d (%v)", x, payload, took, bytes, err)
	}
	return err
}

// listOf is a token of so many empty strings, and some text.
func listOf(n int) string {
	return `{"l":[` + strings.TrimSuffix(strings.Repeat(`"",`, n), ",") + `],"s":"` + strings.Repeat("a", 12<<10-3*n) + `","n":5}`
}

// attack nests a doubling sum in itself.
func attack(terms, depth int) string {
	x := "claims.l"
	for range depth {
		x = "[" + x + "].map(a, a" + strings.Repeat(" + a", terms-1) + ")[0]"
	}
	return x
}

// TestAttacksEndInBudget: what ended the process, or took a processor long after its
// client had gone, is refused, having allocated no more than it was charged.
func TestAttacksEndInBudget(t *testing.T) {
	many := listOf(3900)
	some := listOf(500)
	for name, a := range map[string]struct{ x, payload string }{
		"sums nested four deep":           {attack(40, 4), many},
		"sixteen terms":                   {attack(16, 4), many},
		"a long sum":                      {"claims.l" + strings.Repeat(" + claims.l", 200), many},
		"a long sum of strings":           {"claims.s" + strings.Repeat(" + claims.s", 200), some},
		"flatten":                         {`[` + attack(16, 2) + `].map(a, [a, a, a, a]).flatten().flatten().flatten()`, many},
		"flatten of one list many times":  {`[[claims.l]].map(a, [a, a, a, a, a, a, a, a]).map(a, [a, a, a, a, a, a, a, a]).map(a, [a, a, a, a, a, a, a, a]).flatten(9)`, many},
		"distinct":                        {`[dyn(claims.l).map(a, claims.s)].map(l, l.distinct())[0]`, many},
		"distinct of numbers":             {`lists.range(50000).distinct()`, many},
		"sets.contains":                   {`sets.contains(lists.range(3000), lists.range(3000).reverse()) ? "a" : "b"`, many},
		"sets.intersects":                 {`sets.intersects(lists.range(3000), lists.range(3000).map(i, -1 - i)) ? "a" : "b"`, many},
		"sets.equivalent":                 {`sets.equivalent(lists.range(3000), lists.range(3000)) ? "a" : "b"`, many},
		"equality of what is shared":      {`[` + doubled(40) + `].map(a, a == a)`, many},
		"equality in two ways":            {`[[` + doubled(30) + `, ` + doubled(30) + `]].map(a, a[0] == a[1])`, many},
		"in":                              {`dyn(claims.l).map(x, claims.s in dyn(claims.l).map(y, claims.s + y)).size()`, some},
		"loops in loops":                  {`dyn(claims.l).all(a, dyn(claims.l).all(b, dyn(claims.l).all(c, a == b))) ? "a" : "b"`, many},
		"a range":                         {`lists.range(1000000000).size()`, many},
		"ranges in ranges":                {`lists.range(10000).map(a, lists.range(10000)).size()`, many},
		"replace":                         {`[claims.s].map(a, a.replace("a", a)).map(a, a.replace("a", a))[0]`, some},
		"replace of nothing":              {`claims.s.replace("", claims.s)`, some},
		"join":                            {`dyn(claims.l).join(claims.s)`, many},
		"split":                           {`[claims.s, claims.s].map(a, [1, 2, 3, 4, 5, 6, 7, 8, 9].map(b, a.split("")))`, some},
		"indexOf of a long text":          {`dyn(claims.l).map(a, claims.s.indexOf(claims.s.substring(1) + "b")).size()`, some},
		"lastIndexOf":                     {`dyn(claims.l).map(a, claims.s.lastIndexOf("b" + claims.s.substring(6000))).size()`, some},
		"contains":                        {`dyn(claims.l).all(a, !claims.s.contains(claims.s.substring(6000) + "b")) ? "a" : "b"`, some},
		"a pattern":                       {`dyn(claims.l).all(a, claims.s.matches("(a|a|aa)*(a|a|aa)*b?$"))`, some},
		"findAll":                         {`claims.s.findAll("a.*b|a")`, some},
		"sort":                            {`[1, 2, 3, 4, 5, 6, 7, 8, 9].map(b, lists.range(9000).map(i, -i).sort()).size()`, some},
		"sortBy":                          {`lists.range(9000).map(i, lists.range(9000).sortBy(j, -j)).size()`, some},
		"time zones":                      {`lists.range(1000).map(i, timestamp(0).getHours("Europe/Berlin")).size()`, some},
		"maps of maps":                    {`lists.range(5000).transformMap(i, v, lists.range(5000).transformMap(j, w, w)).size()`, some},
		"map entries":                     {`lists.range(100000).transformMapEntry(i, v, {v: claims.l}).size()`, some},
		"errors that are absorbed":        {`lists.range(100000).exists(i, claims.n[claims.s] || false)`, some},
		"errors with long keys":           {`lists.range(5000).all(i, dyn(claims)[claims.s] || true)`, some},
		"errors about all claims":         {`lists.range(3000).exists(i, [dyn("a"), dyn(claims)].join() == "a")`, `{"l":[1],` + manyClaims(1200, "1") + `"z":0}`},
		"conversions that fail":           {`lists.range(5000).all(i, int(claims.s) == 1 || true)`, some},
		"strings of strings":              {`lists.range(5000).map(i, strings.quote(claims.s)).size()`, some},
		"a result that is too large":      {`claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l + claims.l`, many},
		"all claims, again and again":     {`claims.exists(a, claims.exists(b, claims.exists(c, claims.exists(d, claims.exists(e, claims.exists(f, claims.exists(g, dyn(claims.l).all(h, false))))))))`, `{"l":[1],` + manyClaims(1200, "[]") + `"z":0}`},
		"optionals in optionals":          {`lists.range(100000).map(i, claims.?s.optMap(s, s + s)).size()`, some},
		"substring":                       {`lists.range(100000).map(i, claims.s.substring(i)).size()`, some},
		"a list of all, thousands of it":  {`lists.range(100000).map(i, claims.l).flatten().size()`, many},
		"unwrap":                          {`optional.unwrap(lists.range(100000).map(i, optional.of(claims.l))).size()`, many},
		"a filter that is a macro itself": {`lists.range(3000).filter(i, lists.range(3000).filter(j, j == i).size() == 1).size()`, many},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkBudget(t, a.x, a.payload)
			if !errors.Is(err, ErrBudget) && !errors.Is(err, errResult) {
				t.Errorf("%s: got %v, want the budget's end", a.x, err)
			}
		})
	}
}

// TestComparisonsAreCharged: what is compared, in whatever function, is known in its
// full size and copied nowhere, also where it has maps or is all claims.
func TestComparisonsAreCharged(t *testing.T) {
	many := listOf(3900)
	const all = `{"l": claims.l, "s": claims.s, "n": claims.n}`
	for name, x := range map[string]string{
		"maps":                          `[lists.range(2000).transformMap(i, v, v)].all(m, lists.range(1000).all(i, m == m)) ? "a" : "b"`,
		"maps of claims":                `[` + all + `].all(m, lists.range(1000).all(i, m == m)) ? "a" : "b"`,
		"distinct maps":                 `lists.range(600).map(i, {i: i}).distinct().size() > 0 ? "a" : "b"`,
		"sets of maps":                  `sets.intersects(lists.range(300).map(i, {i: i}), lists.range(300).map(i, {-1 - i: i})) ? "a" : "b"`,
		"a map in a list":               `[lists.range(600).map(i, {i: i})].all(l, lists.range(300).all(i, !({-1: i} in l))) ? "a" : "b"`,
		"a map with all claims":         `[` + all + `].all(m, lists.range(300).all(i, m == dyn(claims) || true)) ? "a" : "b"`,
		"all claims with a map":         `[` + all + `].all(m, lists.range(300).all(i, dyn(claims) == m || true)) ? "a" : "b"`,
		"a list of maps and all claims": `[[` + all + `]].all(m, lists.range(300).all(i, m != [dyn(claims)])) ? "a" : "b"`,
		"all claims in a list":          `[[` + all + `]].all(m, lists.range(300).all(i, !(dyn(claims) in m) || true)) ? "a" : "b"`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkBudget(t, x, many); err != nil && !errors.Is(err, ErrBudget) {
				t.Error(err)
			}
		})
	}
}

// doubled is a value whose size in depth is two to the nth, as a list of one.
func doubled(n int) string {
	return "[claims.l]" + strings.Repeat(".map(a, [a, a])", n) + "[0]"
}

// manyClaims are so many claims, each the same value.
//
// Their names are too short for an escape (five bytes), so that apiserver's regular
// expressions do not look for one: those keep a state of 32 KiB in a pool, which
// under the race detector forgets every fourth.
func manyClaims(n int, value string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"c%s":%s,`, strconv.FormatInt(int64(i), 36), value)
	}
	return b.String()
}

// TestHonestMappingsAreFarBelow: the largest token, in the mappings that people
// write.
func TestHonestMappingsAreFarBelow(t *testing.T) {
	var groups []string
	for i := range 500 {
		groups = append(groups, fmt.Sprintf(`"team-%d-developers"`, i))
	}
	payload := `{"sub":"alice","email":"alice@example.com","email_verified":true,"groups":[` + strings.Join(groups, ",") + `],"scope":"a b c"}`
	for _, x := range []string{
		`dyn(claims.groups).map(g, "oidc:" + g)`,
		`dyn(claims.groups).filter(g, g.startsWith("team-")).map(g, "oidc:" + g.lowerAscii())`,
		`dyn(claims.groups).filter(g, g.matches("^team-[0-9]+-[a-z]{1,20}$"))`,
		`dyn(claims.groups).exists(g, g in ["team-1-developers", "team-499-developers"]) ? claims.sub : ""`,
		`claims.email.split("@")[0]`,
		`claims.?preferred_username.orValue(claims.sub)`,
		`dyn(claims.groups).distinct().size() == 500 ? "a" : "b"`,
	} {
		t.Run(x, func(t *testing.T) {
			if err := checkBudget(t, x, payload); err != nil {
				t.Fatal(err)
			}
			_, steps, bytes, _ := evaluate(t, x, payload)
			t.Logf("%d steps, %d bytes", steps, bytes)
			if steps > MaxSteps/2 || bytes > MaxBytes/2 {
				t.Errorf("takes %d steps and %d bytes, more than half of what there is", steps, bytes)
			}
		})
	}
}

// TestBudgetIsForAllExpressions of a token.
func TestBudgetIsForAllExpressions(t *testing.T) {
	x := `lists.range(10000).size() == 10000 ? "a" : "b"`
	compiled, err := compiler.CompileClaimsExpression(mappingOf(x))
	if err != nil {
		t.Fatal(err)
	}
	ctx := WithBudget(context.Background(), NewBudget(0))
	all := slices.Repeat([]authenticationcel.CompilationResult{compiled}, 10)
	if _, err := authenticationcel.NewClaimsMapper(all).EvalClaimMappings(ctx, claimsValue(t, "{}")); !errors.Is(err, ErrBudget) {
		t.Errorf("ten times: %v, want the budget's end", err)
	}
	if _, err := authenticationcel.NewClaimsMapper(all[:1]).EvalClaimMappings(WithBudget(context.Background(), NewBudget(0)), claimsValue(t, "{}")); err != nil {
		t.Errorf("once: %v", err)
	}
}

// endingContext ends when it has been looked at so often.
type endingContext struct {
	context.Context
	looks int
}

func (c *endingContext) Err() error {
	if c.looks--; c.looks < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// TestEvaluationEndsWithContext: within so many steps, in whatever it is.
func TestEvaluationEndsWithContext(t *testing.T) {
	for _, x := range []string{
		`lists.range(1000).all(a, lists.range(1000).all(b, a + b >= 0)) ? "a" : "b"`,
		`lists.range(1000).map(a, claims.s.indexOf(claims.s + "b")).size()`,
	} {
		compiled, err := compiler.CompileClaimsExpression(mappingOf(x))
		if err != nil {
			t.Fatal(err)
		}
		budget := NewBudget(0)
		ctx := WithBudget(&endingContext{context.Background(), 2}, budget)
		_, err = authenticationcel.NewClaimsMapper([]authenticationcel.CompilationResult{compiled}).EvalClaimMapping(ctx, claimsValue(t, `{"s":"`+strings.Repeat("a", 100)+`"}`))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the context's end", x, err)
		}
		if steps, _ := budget.Spent(); steps > 4*lookEvery {
			t.Errorf("%s: went on for %d steps", x, steps)
		}
	}
}

// refused are the functions of apiserver's environment that no expression may
// call: what they cost has no bound that somebody wrote down.
var refused = []string{
	"__not_strictly_false__", // of an earlier parser
	"add", "allowed", "asApproximateFloat", "asInteger", "check", "compareTo", "error", "errored", "fieldSelector", "format", "format.byte", "format.date", "format.datetime", "format.dns1035Label",
	"format.dns1035LabelPrefix", "format.dns1123Label", "format.dns1123LabelPrefix", "format.dns1123Subdomain", "format.dns1123SubdomainPrefix", "format.labelValue", "format.named", "format.qualifiedName",
	"format.uri", "format.uuid", "getEscapedPath", "getHost", "getHostname", "getPort", "getQuery", "getScheme", "group", "isGreaterThan", "isInteger", "isLessThan", "isQuantity", "isSemver", "isURL",
	"labelSelector", "major", "minor", "name", "namespace", "patch", "path", "quantity", "reason", "resource", "semver", "serviceAccount", "sign", "sub", "subresource", "url", "validate",
}

// planned have a node of their own.
var planned = []string{"@not_strictly_false", "_!=_", "_==_", "_&&_", "_||_", "_?_:_", "_?._", "_[?_]", "_[_]", "cel.@mapInsert", "find", "findAll", "matches", "or", "orValue"}

// TestEachFunctionIsKnown: a new one in apiserver or cel-go is looked at before it
// is allowed.
func TestEachFunctionIsKnown(t *testing.T) {
	for name := range apiserverenvironment.MustBaseEnvSet(apiserverenvironment.DefaultCompatibilityVersion()).StoredExpressionsEnv().Functions() {
		_, ok := allowed[name]
		if n := btoi(ok) + btoi(slices.Contains(refused, name)) + btoi(slices.Contains(planned, name)); n != 1 {
			t.Errorf("%s is in %d of three lists", name, n)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestRefusals: with the reason, when the expression is compiled.
func TestRefusals(t *testing.T) {
	for x, want := range map[string]string{
		`"%s".format(["a"])`:                                                   "format() is not supported",
		`url(claims.iss).getHost()`:                                            "url() is not supported",
		`quantity("1").isGreaterThan(quantity("2")) ? "" : "x"`:                "is not supported",
		`isSemver(claims.v) ? "" : "x"`:                                        "isSemver() is not supported",
		`claims.sub.matches(claims.p)`:                                         "literal pattern",
		`claims.sub.find(claims.p)`:                                            "literal pattern",
		`google.protobuf.Duration{seconds: 1} == duration("1s")`:               "not supported",
		`claims.sub +`:                                                         "Syntax error",
		`optional.of(1)` + strings.Repeat(".optMap(x, x)", 40) + `.hasValue()`: "after macro expansion",
		`optional.of(1)` + strings.Repeat(".optFlatMap(x, optional.of(x))", 40) + `.value()`: "after macro expansion",
	} {
		if _, err := compiler.CompileClaimsExpression(mappingOf(x)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", x, err, want)
		}
	}
}

// TestNodesIsAnUpperBound of what a parser makes of it.
func TestNodesIsAnUpperBound(t *testing.T) {
	env := apiserverenvironment.MustBaseEnvSet(apiserverenvironment.DefaultCompatibilityVersion()).StoredExpressionsEnv()
	for _, x := range append(slices.Clone(agreeing), `optional.of(1)`+strings.Repeat(".optMap(x, x)", 6), attack(8, 3)) {
		parsed, issues := env.Parse(x)
		if issues.Err() != nil {
			t.Fatal(x, issues.Err())
		}
		got, err := SizeOf(x)
		if real := count(parsed); err != nil || got.Nodes < real {
			t.Errorf("%s: %d nodes, really %d (%v)", x, got.Nodes, real, err)
		}
	}
}

// TestSizeIsAnUpperBound of what a compiled expression keeps.
func TestSizeIsAnUpperBound(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures memory for seconds: make test runs it")
	}
	if _, err := compiler.CompileClaimsExpression(mappingOf(`"a".matches("a") ? "a" : "b"`)); err != nil { // what the first one sets up
		t.Fatal(err)
	}
	for name, x := range map[string]string{
		"a mapping":                   `dyn(claims.groups).map(g, "oidc:" + g)`,
		"the smallest":                "claims.a",
		"a long text":                 "claims.a == '" + strings.Repeat("a", 8000) + "'",
		"operators":                   strings.Repeat("claims.a == 1 && ", 400) + "true",
		"macros that repeat":          "claims.?a" + strings.Repeat(".optMap(x, x)", 7) + `.orValue("")`,
		"a pattern that they repeat":  `optional.of("a".matches(r"\pL\pC"))` + strings.Repeat(".optMap(x, x)", 6) + ".value()",
		"character classes":           "claims.sub.matches(r'" + strings.Repeat(`\pC`, 500) + "')",
		"a class that is repeated":    `claims.sub.matches(r'\pC{900}')`,
		"an anchored one":             `claims.sub.matches(r'^\pC{900}$')`,
		"anchored, with alternatives": `claims.sub.matches(r'^(?:a\pL{200}|b\pC{200}|c\PL{200})$')`,
		"a repetition":                `claims.sub.find("a{1000}")`,
		"an anchored repetition":      `claims.sub.findAll("^a{900}$")`,
	} {
		t.Run(name, func(t *testing.T) {
			size, err := SizeOf(x)
			if err != nil {
				t.Fatal(err)
			}
			const copies = 4
			var kept [copies]authenticationcel.CompilationResult
			before := inUse()
			for i := range kept {
				if kept[i], err = compiler.CompileClaimsExpression(mappingOf(x)); err != nil {
					t.Fatal(err)
				}
			}
			took := (inUse() - before) / copies
			t.Logf("%d bytes of text: %+v, keeps %d bytes", len(x), size, took)
			if took > size.Bytes+slack/copies {
				t.Errorf("keeps %d bytes, %d were expected", took, size.Bytes)
			}
			runtime.KeepAlive(&kept)
		})
	}
}

// inUse is what is allocated and not garbage.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // pools give back at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far less
}

// TestDecodingOfClaimsIsCharged: the shapes that take the most memory for a byte of
// JSON, decoded from the payload on and looked through by an expression.
func TestDecodingOfClaimsIsCharged(t *testing.T) {
	many := func(element string) string {
		return `{"a":[` + strings.TrimSuffix(strings.Repeat(element+",", 12000/(len(element)+1)), ",") + `]}`
	}
	deep := strings.Repeat(`{"":`, 60) + "0" + strings.Repeat("}", 60)
	payloads := map[string]string{
		"numbers": many("0"), "strings": many(`""`), "lists": many("[]"), "maps": many("{}"), "small maps": many(`{"":0}`), "nested lists": many("[[[[0]]]]"), "deep maps": many(deep),
		"maps of nine": many(`{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0}`), "escapes": many(`"\u0000"`), "one text": `{"a":"` + strings.Repeat(`\u00e9`, 2000) + `"}`,
	}
	for _, value := range []string{"0", `""`, "null", "[]", "{}", "[0]", `{"":0}`, `"\u0000"`} {
		for _, n := range []int{1, 30, 1200} {
			payloads[fmt.Sprintf("%d claims of %s", n, value)] = "{" + manyClaims(n, value) + `"z":0}`
		}
	}
	names := `"c` + strings.Join(strings.Split("0123456789abcdefghijklmnopqrst", ""), `","c`) + `"`
	for name, payload := range payloads {
		for way, x := range map[string]string{
			"all":     "claims.all(a, true) ? 'a' : 'b'",
			"by name": "[" + names + "].all(n, !claims[?n].hasValue() || true) ? 'a' : 'b'",
		} {
			t.Run(name+", "+way, func(t *testing.T) { decodingIsCharged(t, x, payload) })
		}
	}
}

func decodingIsCharged(t *testing.T, x, payload string) {
	t.Helper()
	compiled, err := compiler.CompileClaimsExpression(mappingOf(x))
	if err != nil {
		t.Fatal(err)
	}
	budget := NewBudget(len(payload))
	_, before := budget.Spent()
	mapper := authenticationcel.NewClaimsMapper([]authenticationcel.CompilationResult{compiled})
	took := allocated(func() {
		_, err = mapper.EvalClaimMapping(WithBudget(context.Background(), budget), claimsValue(t, payload))
	})
	_, bytes := budget.Spent()
	t.Logf("%d bytes of claims: %d bytes allocated, %d charged, %d of them before", len(payload), took, bytes, before)
	if took > bytes || err != nil && !errors.Is(err, ErrBudget) {
		t.Errorf("allocated %d bytes, charged %d (%v)", took, bytes, err)
	}
}
