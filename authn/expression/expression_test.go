package expression

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/cel/lazy"
)

// claimsValue is what apiserver's OIDC authenticator evaluates expressions on, but
// for the names that it escapes in nested values.
func claimsValue(t testing.TB, payload string) *lazy.MapValue {
	t.Helper()
	var claims map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &claims); err != nil {
		t.Fatal(err)
	}
	m := lazy.NewMapValue(types.NewObjectType("kubernetes.claims"))
	for name, raw := range claims {
		m.Append(name, func(*lazy.MapValue) ref.Val {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				return types.WrapErr(err)
			}
			return types.DefaultTypeAdapter.NativeToValue(v)
		})
	}
	return m
}

func mappingOf(x string) authenticationcel.ExpressionAccessor {
	return &authenticationcel.ClaimMappingExpression{Expression: x}
}

// printed is a result that can be compared.
func printed(v ref.Val, err error) string {
	if err != nil {
		return "error"
	}
	if l, ok := v.(traits.Lister); ok {
		var out []string
		for it := l.Iterator(); it.HasNext() == types.True; {
			out = append(out, printed(it.Next(), nil))
		}
		return "[" + strings.Join(out, " ") + "]"
	}
	return fmt.Sprintf("%s(%v)", v.Type().TypeName(), v.Value())
}

var compiler = NewCompiler()
var reference = authenticationcel.NewDefaultCompiler()

// Spent says what has been charged so far.
func (b *Budget) Spent() (steps, bytes int64) { return MaxSteps - b.steps, MaxBytes - b.bytes }

// evaluate returns the result and what was charged for it.
func evaluate(t testing.TB, x, payload string) (v ref.Val, steps, bytes int64, err error) {
	t.Helper()
	c, err := compiler.CompileClaimsExpression(mappingOf(x))
	if err != nil {
		t.Fatalf("%s: %v", x, err)
	}
	b := NewBudget(len(payload))
	r, err := authenticationcel.NewClaimsMapper([]authenticationcel.CompilationResult{c}).EvalClaimMapping(WithBudget(context.Background(), b), claimsValue(t, payload))
	steps, bytes = b.Spent()
	return r.EvalResult, steps, bytes, err
}

const payload = `{"sub":"alice","email":"Alice@Example.com","email_verified":true,"n":3,"f":1.5,"empty":[],"none":null,
 "groups":["dev","ops","admin","dev"],"nested":[["a","b"],["c"],[]],"nums":[3,1,2],
 "roles":[{"name":"viewer","on":true},{"name":"editor","on":false},{"other":1}],
 "m":{"a":"x","b":"y"},"deep":{"a":{"b":{"c":"found"}}},"a.b":"dotted","m.d":{"x.y":"z"},"ip":"10.1.2.3","at":"2024-05-06T07:08:09Z","scope":"read write  x","bad":"ünï©ode"}`

// agreeing evaluate to what cel-go's own interpreter makes of them.
var agreeing = []string{
	`claims.sub`, `"oidc:" + claims.sub`, `claims.email.lowerAscii()`, `claims.email.upperAscii()`, `claims.email_verified`, `claims.email_verified == true`,
	`claims["sub"]`, `claims.deep.a.b.c`, `claims.deep["a"]["b"].c`, `claims.missing`, `claims.deep.x.y`, `claims.sub.x`,
	`has(claims.sub)`, `has(claims.missing)`, `has(claims.deep.a.x)`, `has(claims.missing.x)`, `has(claims.sub.x)`, `has(claims.a__dot__b)`, `claims.a__dot__b`,
	`claims.groups`, `dyn(claims.groups).map(g, "p:" + g)`, `dyn(claims.groups).filter(g, g.startsWith("d"))`, `dyn(claims.groups).map(g, g != "dev", g + "!")`, `claims.groups + ["x"]`, `["x"] + claims.groups`,
	`dyn(claims.groups).map(g, g + claims.missing)`, `dyn(claims.roles).map(r, r.name)`, `dyn(claims.roles).filter(r, has(r.name)).map(r, r.name)`, `dyn(claims.roles).exists(r, r.name == "viewer")`,
	`dyn(claims.roles).exists(r, r.name == "nobody")`, `dyn(claims.roles).all(r, r.name != "viewer")`, `dyn(claims.roles).exists_one(r, has(r.other))`,
	`dyn(claims.groups).exists(g, g == "ops")`, `dyn(claims.groups).all(g, g != "ops")`, `dyn(claims.groups).exists_one(g, g == "dev")`, `"ops" in claims.groups`, `"x" in claims.groups`, `"a" in claims.m`, `"q" in claims.m`, `"sub" in claims`,
	`claims.groups[0]`, `claims.groups[4]`, `claims.groups[-1]`, `claims.groups["a"]`, `claims.groups[?9].orValue("none")`, `claims.groups[?0].orValue("none")`, `claims[?"sub"].orValue("x")`,
	`claims.?sub.orValue("x")`, `claims.?missing.orValue("x")`, `claims.?deep.a.b.c.orValue("x")`, `claims.?deep.q.b.c.orValue("x")`, `claims.?missing.x.y.orValue("d")`, `claims.deep.?a.b.?c.orValue("x")`,
	`claims.?sub.hasValue()`, `has(claims.?deep.a)`, `has(claims.?missing.a)`, `claims.?missing.or(claims.?sub).value()`, `claims.?missing.or(claims.?empty).orValue(["x"])`, `claims.?missing.value()`, `optional.none().orValue("q")`,
	`claims.?sub.optMap(s, s + "!").orValue("")`, `claims.?missing.optMap(s, s + "!").orValue("none")`, `claims.?m.optFlatMap(m, m.?a).orValue("")`, `[?claims.?sub, ?claims.?missing]`, `{?"a": claims.?sub, "b": claims.n}.a`, `{"b": claims.n, ?"b": claims.?missing}.?b.orValue("gone")`,
	`optional.ofNonZeroValue("").orValue("zero")`, `optional.ofNonZeroValue([]).hasValue()`, `optional.ofNonZeroValue(claims.sub).value()`, `[claims.?sub, claims.?missing].unwrapOpt()`, `optional.unwrap([claims.?sub])`,
	`claims.m == {"a": "x", "b": "y"}`, `claims.m != {"a": "x"}`, `claims.groups == ["dev", "ops", "admin", "dev"]`, `claims.nested == [["a", "b"], ["c"], []]`, `claims.nested == claims.nested`, `claims == claims`, `claims.n == 3`, `claims.n == 3.0`, `claims.n < 4`, `claims.f >= 1`, `claims.none == null`, `claims.none`, `claims.n`, `dyn(1) == dyn("1")`,
	`true || claims.missing`, `claims.missing || true`, `false || claims.missing`, `claims.missing && false`, `claims.sub && false`, `claims.sub || false`, `!claims.email_verified`, `!claims.sub`, `claims.email_verified ? "a" : "b"`, `claims.sub ? "a" : "b"`, `claims.missing ? "a" : "b"`, `false ? claims.missing : "b"`,
	`claims.sub.size()`, `size(claims.groups)`, `size(claims.m)`, `size(claims.bad)`, `size(claims)`, `string(claims.n)`, `string(claims.f)`, `string(claims.email_verified)`, `int("12")`, `int(claims.sub)`, `int(claims.f)`, `double("1.5")`, `uint("7")`, `bool("true")`, `string(b"abc")`, `string(bytes("abc"))`, `type(claims.sub) == string`, `type(claims.groups) == list`, `type(claims.m) == map`, `type(claims.n) == double`, `type(1) == int`, `dyn(claims.sub)`,
	`claims.sub.contains("lic")`, `claims.sub.endsWith("ce")`, `claims.sub.indexOf("i")`, `claims.sub.indexOf("z")`, `claims.sub.indexOf("i", 3)`, `claims.sub.lastIndexOf("c")`, `claims.sub.lastIndexOf("c", 1)`, `claims.sub.charAt(1)`, `claims.sub.charAt(99)`, `claims.sub.substring(1)`, `claims.sub.substring(1, 3)`, `claims.sub.substring(3, 1)`, `claims.bad.substring(1, 4)`, `claims.bad.upperAscii()`,
	`claims.scope.split(" ")`, `claims.scope.split(" ", 2)`, `claims.scope.split("")`, `claims.scope.split(" ", 0)`, `claims.scope.split(" ", -1)`, `claims.email.split("@")[0]`, `claims.email.split("@")[1] == "Example.com"`, `claims.scope.replace(" ", "_")`, `claims.scope.replace(" ", "long", 1)`, `claims.scope.replace("", "-")`, `claims.scope.replace("read", claims.sub)`, `claims.groups.join(",")`, `claims.groups.join()`, `[].join("x")`, `claims.nums.join(",")`, `"  x ".trim()`, `strings.quote("a\"b\n")`,
	`claims.sub.matches("^[a-z]+$")`, `matches(claims.sub, "^b")`, `claims.scope.find("w[a-z]+")`, `claims.scope.findAll("[a-z]+")`, `claims.scope.findAll("[a-z]+", 1)`, `claims.scope.findAll("", 3)`, `claims.n.matches("a")`,
	`claims.nums.isSorted()`, `[3, 1, 2].isSorted()`, `[3, 1, 2].min()`, `[3, 1, 2].max()`, `[3, 1, 2].sum()`, `[].sum()`, `["a", "b"].indexOf("b")`, `claims.groups.indexOf("dev")`, `claims.groups.lastIndexOf("dev")`, `["a", "b", "a"].lastIndexOf("a")`,
	`claims.nested.flatten()`, `dyn([[["a"]], [["b"]]]).flatten(2)`, `claims.groups.distinct()`, `claims.groups.reverse()`, `claims.groups.slice(1, 3)`, `claims.groups.slice(1, 9)`, `claims.groups.sort()`, `["b", "a"].sort()`, `dyn(claims.groups).sortBy(g, size(g))`, `dyn(claims.roles).sortBy(r, r.name)`, `claims.groups.first().orValue("")`, `claims.empty.last().orValue("none")`, `lists.range(3).map(i, string(i))`,
	`sets.contains(claims.groups, ["dev"])`, `sets.intersects(claims.groups, ["x", "ops"])`, `sets.equivalent(claims.groups, ["dev", "ops", "admin"])`,
	`dyn(claims.groups).all(i, g, i < 4 && g != "x")`, `dyn(claims.groups).exists(i, g, i == 1 && g == "ops")`, `dyn(claims.m).exists(k, v, k == "a" && v == "x")`, `dyn(claims.groups).transformList(i, g, string(i) + g)`, `dyn(claims.groups).transformList(i, g, i > 0, g)`, `dyn(claims.m).transformMap(k, v, v + k) == {"a": "xa", "b": "yb"}`, `dyn(claims.m).transformMapEntry(k, v, {v: k}) == {"x": "a", "y": "b"}`, `dyn(claims.groups).transformMapEntry(i, g, {g: i}) == {}`, `dyn(claims.m).transformMap(k, v, k != "a", v).size()`, `dyn(claims.m).all(k, k in ["a", "b"])`, `dyn(claims.m).map(k, claims.m[k]).size()`, `{1: "a", 2: "b"}.size()`, `{"a": "b", "a": "c"}.a`, `dyn(claims.groups).map(g, [g, g]).map(l, l[1])`,
	`claims.exists(v, v == "alice")`, `dyn(claims.sub).all(x, true)`, `dyn(claims.groups).map(g, dyn(claims.groups).filter(h, h == g).size() > 1 ? "twice" : "once")`, `[1, 2].map(x, [3, 4].map(y, x * y)) == [[3, 4], [6, 8]]`, `dyn(claims.roles).map(r, r.?name.orValue("unnamed"))`, `dyn(claims.roles).map(r, r.transformList(k, v, k).size()).size()`,
	`ip("10.0.0.1") == ip("10.0.0.1")`, `cidr("10.0.0.0/8").containsIP(claims.ip)`, `isIP(claims.sub)`, `ip(claims.ip).family()`, `ip(claims.sub).family()`, `string(ip(claims.ip))`, `string(cidr("10.1.2.3/8").masked())`, `cidr("10.0.0.0/8").prefixLength()`, `cidr("10.0.0.0/8").containsCIDR("10.1.0.0/16")`,
	`timestamp(claims.at).getFullYear()`, `timestamp(claims.at).getHours("Europe/Berlin")`, `timestamp(claims.at).getHours("No/Where")`, `timestamp(claims.at) < timestamp("2025-01-01T00:00:00Z")`, `duration("90m").getHours()`, `timestamp(claims.at) + duration("1h") > timestamp(claims.at)`, `string(duration("90s"))`, `timestamp(claims.sub)`,
	`1 + 2 * 3 - 4 / 2 % 3`, `-claims.f < 0.0`, `1 / 0`, `9223372036854775807 + 1`, `1u + 2u`, `"a" < "b"`, `b"a" + b"b" == b"ab"`, `[1] + [2] == [1, 2]`, `claims.sub + claims.n`, `claims.groups + claims.sub`, `dyn("abc")[0]`, `[[1, 2], [3]][0][1]`, `{"a": [1]}.a[0]`,
}

// TestAgreesWithCEL: an expression means what it means to kube-apiserver.
func TestAgreesWithCEL(t *testing.T) {
	for _, x := range agreeing {
		t.Run(x, func(t *testing.T) {
			want, wantErr := reference.CompileClaimsExpression(mappingOf(x))
			got, err := compiler.CompileClaimsExpression(mappingOf(x))
			if err != nil || wantErr != nil {
				t.Fatalf("compiles: %v, cel-go: %v", err, wantErr)
			}
			ctx := context.Background()
			reference, refErr := authenticationcel.NewClaimsMapper([]authenticationcel.CompilationResult{want}).EvalClaimMapping(ctx, claimsValue(t, payload))
			ours, ourErr := authenticationcel.NewClaimsMapper([]authenticationcel.CompilationResult{got}).EvalClaimMapping(ctx, claimsValue(t, payload))
			if a, b := printed(reference.EvalResult, refErr), printed(ours.EvalResult, ourErr); a != b {
				t.Errorf("got %s (%v), cel-go says %s (%v)", b, ourErr, a, refErr)
			}
		})
	}
}
