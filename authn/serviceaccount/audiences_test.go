package serviceaccount

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/token"
)

// TestAuthenticateFor: a review's audiences are judged by the token's own, whatever was
// remembered of the token, and admit it nowhere else.
func TestAuthenticateFor(t *testing.T) {
	for name, tt := range map[string]struct {
		claims object
		wanted []string
		found  []string // nil: refused
		admits bool
	}{
		"for the API's":                         {bound(), []string{testIssuer}, []string{testIssuer}, true},
		"for the API's, asked for more":         {bound(), []string{"vault", testIssuer}, []string{testIssuer}, true},
		"for the API's, asked for others":       {bound(), []string{"vault"}, nil, true},
		"for others":                            {with(bound(), object{"aud": []string{"vault"}}), []string{"vault"}, []string{"vault"}, false},
		"for two others, in the review's order": {with(bound(), object{"aud": []string{"a", "b", "c"}}), []string{"c", "x", "a"}, []string{"c", "a"}, false},
		"for others, asked for the API's":       {with(bound(), object{"aud": "vault"}), []string{testIssuer}, nil, false},
		"legacy, which is for the API's":        {legacy(), []string{testIssuer}, []string{testIssuer}, true},
		"legacy, asked for others":              {legacy(), []string{"vault"}, nil, true},
		"bound without audiences":               {with(bound(), object{"aud": nil}), []string{testIssuer, "x"}, []string{testIssuer}, true},
	} {
		t.Run(name, func(t *testing.T) {
			refused := 0
			a := newTest(t, func(c *Config) { c.Refused = func(token.Reason) { refused++ } })
			raw := tokenOf(t, tt.claims)
			review := token.Parse(raw)
			review.Purpose = token.ForReview
			for range 2 { // the second time it may be remembered
				u, found, err := a.AuthenticateFor(t.Context(), review, tt.wanted)
				if diff := cmp.Diff(tt.found, found); diff != "" || (u == nil) != (tt.found == nil) {
					t.Errorf("%v, %v; audiences (-want +got):\n%s", u, err, diff)
				}
				if refusal := (*token.RefusalError)(nil); tt.found == nil && (!errors.As(err, &refusal) || refusal.Reason != token.ReasonAudience) {
					t.Errorf("refused with %v, want reason %s", err, token.ReasonAudience)
				}
				if refused != 0 {
					t.Errorf("a review's refusal counts as a caller's")
				}
				u, _, err = a.AuthenticateToken(t.Context(), token.Parse(raw))
				if (u != nil) != tt.admits {
					t.Errorf("at the door: %v, %v; want admission %v", u, err, tt.admits)
				}
				refused = 0
			}
			known, err := a.CheckRevoked(t.Context(), token.Parse(raw), testNow.Add(time.Minute))
			if !known || (err == nil) != tt.admits {
				t.Errorf("a stream of it, after its end: %v, %v", known, err)
			}
		})
	}
}
