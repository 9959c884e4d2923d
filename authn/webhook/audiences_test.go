package webhook

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/token"
)

// TestWebhookAuthenticateFor: the webhook is asked for a review's audiences, and an answer
// for some is no answer for others.
func TestWebhookAuthenticateFor(t *testing.T) {
	s := tokentest.ServeReviews(t, func(w http.ResponseWriter, q authenticationv1.TokenReview) {
		status := authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "bob"}, Audiences: token.Audiences([]string{"vault", "api"}, q.Spec.Audiences)}
		if len(q.Spec.Audiences) == 1 && q.Spec.Audiences[0] == "unaware" {
			status.Audiences = nil
		}
		if len(q.Spec.Audiences) == 1 && q.Spec.Audiences[0] == "other" {
			status.Audiences = []string{"vault", "api"}
		}
		text, _ := json.Marshal(status)
		tokentest.Says(string(text))(w, q)
	})
	w := newTest(t, s, func(c *Config) { c.Audiences = []string{"api"} })
	for _, tt := range []struct {
		name     string
		wanted   []string
		found    []string
		accepted bool
		asked    int64 // in all
	}{
		{"the API's", []string{"api"}, []string{"api"}, true, 1},
		{"another", []string{"vault"}, []string{"vault"}, true, 2},
		{"another, again", []string{"vault"}, []string{"vault"}, true, 2},
		{"one of two", []string{"x", "vault"}, []string{"vault"}, true, 3},
		{"what it is not for", []string{"other"}, nil, false, 4},
		{"a webhook that knows no audiences", []string{"unaware"}, nil, true, 5},
	} {
		u, found, err := w.AuthenticateFor(t.Context(), token.Parse(opaqueToken), tt.wanted)
		if diff := cmp.Diff(tt.found, found); diff != "" || (u != nil) != tt.accepted || (err == nil) != tt.accepted {
			t.Errorf("%s: %v, %v; audiences (-want +got):\n%s", tt.name, u, err, diff)
		}
		if asked := s.Asked.Load(); asked != tt.asked {
			t.Errorf("%s: asked %d times, want %d", tt.name, asked, tt.asked)
		}
	}
	if u, _, err := w.AuthenticateToken(t.Context(), token.Parse(opaqueToken)); u == nil || s.Asked.Load() != 5 {
		t.Errorf("at the door: %v, %v, asked %d times, want what is known for the API", u, err, s.Asked.Load())
	}
}
