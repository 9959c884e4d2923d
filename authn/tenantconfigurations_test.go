package authn

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/token"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/polltest"
)

func TestOwnersSeeTheirConfigurations(t *testing.T) {
	w, types := newTypes(t)
	i := issuertest.Serve(t, issuertest.Options{})
	a, err := New(Config{Types: types, Instance: "pod-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.TenantConfigurations("c1", ""); err == nil {
		t.Error("there is an answer before anything was read")
	}
	w.Sync()
	w.SetConfig("root", "c1", "auth", tokentest.SpecFor(i))
	w.SetConfig("root", "c1", "broken", `{"jwt":[{}]}`)
	w.SetConfig("root", "c2", "foreign", tokentest.SpecFor(i))
	w.SetType("root", "c1", "team", "auth", "broken", "gone")
	waitAccepted(t, types, "team", i)
	decide := func(raw string) int {
		return a.Decide(t.Context(), Request{
			Header: http.Header{"Authorization": {"Bearer " + raw}},
			Target: index.Target{Cluster: "ws1", Type: index.Type{Cluster: "c1", Name: "team"}},
		}).Status
	}
	for range 3 {
		decide(i.Sign(issuertest.Claims{"sub": "alice", "aud": "other"}))
	}
	decide(i.Sign(issuertest.Claims{"sub": "alice", "aud": "app", "exp": time.Now().Add(-time.Hour).Unix()}))
	decide(i.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
	all, _, err := a.TenantConfigurations("c1", "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range all {
		got = append(got, fmt.Sprint(c.Name, " ", c.State, " ", c.Types, " ", c.Error != ""))
	}
	if want := []string{"auth Ready [team] false", "broken Broken [team] true", "gone Missing [team] false"}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	s := all[0].Issuers[0]
	if diff := cmp.Diff(map[token.Reason]int{token.ReasonAudience: 3, token.ReasonExpired: 1}, s.RefusedInLastHour); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if s.URL != i.URL() || len(s.Keys) != 1 || s.Keys[0].ID != i.KeyID() || s.Keys[0].Since.IsZero() {
		t.Errorf("issuer: %+v", s)
	}
	for name, want := range map[string]int{"auth": 1, "gone": 1, "foreign": 0, "none": 0} {
		if one, _, err := a.TenantConfigurations("c1", name); err != nil || len(one) != want {
			t.Errorf("%s: %d configurations, %v; want %d", name, len(one), err, want)
		}
	}
	off, err := New(Config{Instance: "pod-1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := off.TenantConfigurations("c1", ""); err == nil || !strings.Contains(err.Error(), "WorkspaceAuthentication") {
		t.Errorf("with the gate off: %v", err)
	}
}

// TestOwnersOfManyConfigurations: what an owner is told has a bound, whatever the workspace has,
// and configurations that are gone are not kept.
func TestOwnersOfManyConfigurations(t *testing.T) {
	w, types := newTypes(t)
	a, err := New(Config{Types: types, Instance: "pod-1"})
	if err != nil {
		t.Fatal(err)
	}
	w.Sync()
	for n := range 1000 {
		w.SetConfig("root", "c1", fmt.Sprintf("auth-%04d", n), `{"jwt":[{"issuer":{"url":"`+strings.Repeat("x", 10_000)+`"}}]}`)
		w.SetType("root", "c1", fmt.Sprintf("team-%04d", n), "auth-0000")
	}
	all, more, err := a.TenantConfigurations("c1", "")
	if err != nil || len(all) != 256 || more != 744 || all[255].Name != "auth-0255" {
		t.Fatalf("%d configurations and %d more, %v", len(all), more, err)
	}
	for _, c := range all {
		if len(c.Error) > 5000 || len(c.Types) > 65 {
			t.Errorf("%s: an error of %d bytes, %d types", c.Name, len(c.Error), len(c.Types))
		}
	}
	if got := all[0].Types[64]; got != "and 936 more" {
		t.Errorf("the last of the types is %q", got)
	}
	if one, _, err := a.TenantConfigurations("c1", "auth-0999"); err != nil || len(one) != 1 {
		t.Errorf("one that is not listed: %v, %v", one, err)
	}
	w.Sync() // with empty lists
	if all, more, err := a.TenantConfigurations("c1", ""); err != nil || len(all)+more > 0 {
		t.Errorf("%d configurations and %d more when all are gone, %v", len(all), more, err)
	}
}

// TestOwnersSeeNoneOfOthersUse: an issuer that others have used for long looks as it does to
// whoever is the first to use it.
func TestOwnersSeeNoneOfOthersUse(t *testing.T) {
	w, types := newTypes(t)
	i := issuertest.Serve(t, issuertest.Options{})
	a, err := New(Config{Types: types, Instance: "pod-1"})
	if err != nil {
		t.Fatal(err)
	}
	w.Sync()
	w.SetConfig("root", "c1", "auth", tokentest.SpecFor(i))
	w.SetType("root", "c1", "team", "auth")
	waitAccepted(t, types, "team", i)
	begun := time.Now()
	change := &workspacetypes.Change{Configurations: map[string]json.RawMessage{"mine": []byte(tokentest.SpecFor(i))}}
	tried, _, err := a.DryRunConfigurations(t.Context(), "c2", change, "")
	if err != nil {
		t.Fatal(err)
	}
	w.SetConfig("root", "c2", "mine", tokentest.SpecFor(i))
	w.SetType("root", "c2", "mine", "mine")
	var applied []workspacetypes.TenantConfiguration
	polltest.UntilState(t, "it is in use", func() (bool, string) {
		applied, _, err = a.TenantConfigurations("c2", "")
		return len(applied) == 1 && len(applied[0].Issuers) == 1, fmt.Sprint(applied, err)
	})
	for name, all := range map[string][]workspacetypes.TenantConfiguration{"tried": tried, "applied": applied} {
		s := all[0].Issuers[0]
		times := []metav1.Time{s.LastAttempt, s.LastSuccess}
		for _, k := range s.Keys {
			times = append(times, k.Since)
		}
		for _, at := range times {
			if at.Time.Before(begun) {
				t.Errorf("%s: the owner sees what happened before: %+v", name, s)
			}
		}
	}
	first, _, err := a.TenantConfigurations("c1", "")
	if err != nil || len(first) != 1 || !first[0].Issuers[0].LastSuccess.Time.Before(begun) {
		t.Errorf("who used it first does not see since when: %+v, %v", first, err)
	}
}

func TestOwnersTryConfigurations(t *testing.T) {
	w, types := newTypes(t)
	used, tried, down := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	down.SetDown(true)
	w.Sync()
	w.SetConfig("root", "c1", "auth", tokentest.SpecFor(used))
	w.SetType("root", "c1", "team", "auth")
	waitAccepted(t, types, "team", used)
	var asked []string
	a, err := New(Config{Types: types, Instance: "pod-1", Tokens: []token.Authenticator{fakeToken{name: "operator", asked: &asked}}})
	if err != nil {
		t.Fatal(err)
	}
	change := func(specs map[string]string) *workspacetypes.Change {
		c := &workspacetypes.Change{Configurations: map[string]json.RawMessage{}}
		for name, spec := range specs {
			c.Configurations[name] = []byte(spec)
		}
		return c
	}
	many := map[string]string{}
	for n := range workspacetypes.MaxConfigurations + 1 {
		many[fmt.Sprint("c", n)] = tokentest.SpecFor(tried)
	}
	good := tried.Sign(issuertest.Claims{"sub": "alice", "aud": "app"})
	for name, tc := range map[string]struct {
		specs  map[string]string
		token  string
		states []string
		status int // of the token; 0: there is none
		err    string
	}{
		"new, without a token": {map[string]string{"new": tokentest.SpecFor(tried)}, "", []string{"new Ready Ready"}, 0, ""},
		"accepts":              {map[string]string{"new": tokentest.SpecFor(tried)}, good, []string{"new Ready Ready"}, 200, ""},
		"instead of one in use": {map[string]string{"auth": tokentest.SpecFor(tried)}, used.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}),
			[]string{"auth Ready Ready"}, 401, ""},
		"wrong audience":  {map[string]string{"new": tokentest.SpecFor(tried)}, tried.Sign(issuertest.Claims{"sub": "alice", "aud": "x"}), []string{"new Ready Ready"}, 401, ""},
		"no such issuer":  {map[string]string{"new": tokentest.SpecFor(down)}, "", []string{"new Ready Unavailable"}, 0, ""},
		"does not build":  {map[string]string{"new": `{"jwt":[{}]}`}, good, []string{"new Broken"}, 503, ""},
		"nothing to try":  {nil, good, nil, 0, "there is no WorkspaceAuthenticationConfiguration"},
		"too many":        {many, "", nil, 0, "at most"},
		"malformed token": {map[string]string{"new": tokentest.SpecFor(tried)}, "a b", []string{"new Ready Ready"}, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := refusalsSoFar(a.refusals)
			all, told, err := a.DryRunConfigurations(t.Context(), "c1", change(tc.specs), tc.token)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var states []string
			for _, c := range all {
				text := c.Name + " " + string(c.State)
				for _, i := range c.Issuers {
					text += " " + string(i.State)
				}
				states = append(states, text)
			}
			if !slices.Equal(states, tc.states) {
				t.Errorf("%q, want %q", states, tc.states)
			}
			status := 0
			if told != nil {
				status = told.Decision.Status
			}
			if status != tc.status {
				t.Errorf("the token: %d, want %d: %v", status, tc.status, told)
			}
			if refusalsSoFar(a.refusals) != before {
				t.Error("a refusal is kept")
			}
		})
	}
	if len(asked) != 0 {
		t.Errorf("the operator's authenticator was asked %d times", len(asked))
	}
	polltest.UntilState(t, "what was in use goes on", func() (bool, string) {
		published, err := types.Authenticators(index.Type{Cluster: "c1", Name: "team"})
		return err == nil && len(published.ByIssuer[used.URL()]) == 1 && len(published.ByIssuer) == 1, fmt.Sprint(published, err)
	})
}
