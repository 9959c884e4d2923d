package zpages

import (
	"encoding/json"
	"strings"
	"testing"

	"frontproxy/authn"
	"frontproxy/authn/authstatus"
	"frontproxy/authn/issuer"
)

// TestExplainPath: which paths are explanations'.
func TestExplainPath(t *testing.T) {
	for path, want := range map[string]string{
		"/debug/explain": "", "/debug/explain/": "", "/debug/explain/pod-1-2": "pod-1-2", "/debug/explain/a/b": "a/b",
		"/debug/explainer": "no", "/debug/": "no", "/debug/pprof": "no", "": "no", "/x/debug/explain": "no", "//debug/explain": "no",
	} {
		id, ok := ExplainedID(path)
		if ok != (want != "no") || ok && id != want {
			t.Errorf("%s: %q, %v; want %q", path, id, ok, want)
		}
	}
}

// TestConfinedExplanationsHideOperatorsVerdicts: what a workspace's administrators are not told.
func TestConfinedExplanationsHideOperatorsVerdicts(t *testing.T) {
	f := &authn.Refusal{Decision: &authn.Decision{Status: 503, Verdicts: []authn.Verdict{
		{Authenticator: "oidc", Outcome: authn.Refused, Reason: "operators-own", Private: true},
		{Authenticator: "workspace c/a", Outcome: authn.Undecided, Reason: "dial 10.0.0.1: refused", Private: true},
		{Authenticator: "workspace c/b", Outcome: authn.Refused, Reason: "audience"},
	}}}
	now := []authstatus.Authenticator{
		{Name: "oidc jwt[0]", State: "Ready", Issuer: &issuer.Status{URL: "https://operators-own"}},
		{Name: "workspace c/a", Workspace: true, State: "Unavailable", Issuer: &issuer.Status{URL: "https://tenant", State: issuer.Unavailable, LastError: "dial 10.0.0.1: refused", KeyIDs: []string{"k"}}},
	}
	for _, confined := range []bool{false, true} {
		text, err := json.Marshal(explainRefusal("front", f, now, confined))
		if err != nil {
			t.Fatal(err)
		}
		for _, private := range []string{"operators-own", "10.0.0.1"} {
			if strings.Contains(string(text), private) == confined {
				t.Errorf("confined %v: %q in %s", confined, private, text)
			}
		}
		for _, public := range []string{"audience", "https://tenant", "Unavailable", "could not decide"} {
			if !strings.Contains(string(text), public) {
				t.Errorf("confined %v: no %q in %s", confined, public, text)
			}
		}
	}
}
