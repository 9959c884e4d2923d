package jwt

import (
	"strings"
	"testing"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer/issuertest"
)

// TestExpressionsThatAreCostlyToCompile: what they cost to run is bounded by the
// package expression.
func TestExpressionsThatAreCostlyToCompile(t *testing.T) {
	for expression, refused := range map[string]string{
		`claims.sub`:                                             "",
		`"oidc:" + claims.sub`:                                   "",
		`claims.groups.map(g, "oidc:" + g)`:                      "",
		`claims.email.replace("@example.com", "")`:               "",
		`claims.email.replace("a", "b", 1)`:                      "",
		`claims.sub.matches("^[a-z]{1,63}$")`:                    "",
		`matches(claims.sub, "^[a-z]+$")`:                        "",
		`claims.sub.find("[0-9]+") != ""`:                        "",
		nest("[", "[]", "]", 11) + " == []":                      "",
		nest("[", "[]", "]", 12) + " == []":                      "nested",
		nest("{1: ", "1", "}", 13) + " == {}":                    "nested",
		nest("[1].map(x, ", "1", ")", 13) + " == []":             "nested",
		nest("[true].all(x, [x].exists(y, ", "y", "))", 4):       "",
		"claims.s in ['a'" + strings.Repeat(", 'b'", 1000) + "]": "",
		strings.Repeat("claims.s in [] || ", 256) + "true":       "",
		strings.Repeat("claims.s in [] || ", 257) + "true":       "more than 256",
		strings.Repeat("[1].all(x, true) && ", 129) + "[] == []": "more than 256",
		`claims.s.(`: "does not parse",
		"optional.of(1)" + strings.Repeat(".optMap(x, x)", 4) + ".value()":                   "",
		"optional.of(1)" + strings.Repeat(".optMap(x, x)", 40) + ".value()":                  "after macro expansion",
		`claims.s.matches("(a{1000}){1000}")`:                                                "", // no pattern at all: validation refuses it
		`claims.s.matches("` + strings.Repeat("a{1000}", 6) + `")`:                           "too large",
		"claims.s.matches(r'" + strings.Repeat(`\pC`, 2000) + "')":                           "once compiled",
		`claims.s.matches("^[\\p{L}\\p{N}._-]{1,64}@[\\p{L}\\p{N}.-]{1,255}$")`:              "",
		`claims.s.matches("a{1000}")` + strings.Repeat(` || claims.s.matches("a{1000}")`, 9): "too large",
	} {
		t.Run(expression[:min(len(expression), 60)], func(t *testing.T) {
			err := (&expressionCheck{}).check(expression)
			if (err != nil) != (refused != "") || err != nil && !strings.Contains(err.Error(), refused) {
				t.Errorf("%s: got %v, want %q", expression, err, refused)
			}
		})
	}
}

// nest puts inner into n pairs.
func nest(open, inner, end string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
}

// TestPatternsOfAConfigurationAddUp: many small expressions are not a way
// around the bound.
func TestPatternsOfAConfigurationAddUp(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	rule := `{"expression":"claims.a.matches('b{500}')","message":"m"}`
	raw := tokentest.SpecFor(s)
	raw = strings.Replace(raw, `"claimMappings"`, `"claimValidationRules":[`+rule+strings.Repeat(","+rule, 19)+`],"claimMappings"`, 1)
	if !strings.Contains(raw, "matches") {
		t.Fatalf("the test's spec has no rules: %s", raw)
	}
	spec, err := ParseSpec([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkSafety(spec.Entries); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
}
