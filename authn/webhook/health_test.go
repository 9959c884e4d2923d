package webhook

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/token"
)

// healthOf asks a webhook, one step of time after the other, and returns what it
// says of its state after each.
func healthOf(t *testing.T, step time.Duration, answers ...string) (states []State, w *Authenticator, logged []string) {
	t.Helper()
	var mu sync.Mutex
	log := funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		logged = append(logged, args)
	}, funcr.Options{Verbosity: 2})
	clk := clocktesting.NewFakePassiveClock(time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC))
	s := tokentest.ServeReviews(t, nil)
	w = newTest(t, s, func(c *Config) { c.Clock, c.Log = clk, log })
	for i, answer := range answers {
		switch answer {
		case "yes":
			s.AnswerWith(tokentest.Says(tokentest.SaysAlice))
		case "no":
			s.AnswerWith(tokentest.Says(`{}`))
		case "401":
			s.AnswerWith(tokentest.Writes(401, ""))
		case "500":
			s.AnswerWith(tokentest.Writes(500, ""))
		}
		_, _, _ = w.AuthenticateToken(t.Context(), token.Parse(fmt.Sprint("token-", i)))
		states = append(states, w.Status().State)
		clk.SetTime(clk.Now().Add(step))
	}
	return states, w, logged
}

// TestWebhookMayNotAcceptOurCredential: 401 and 403 raise a doubt when nothing
// else comes.
func TestWebhookMayNotAcceptOurCredential(t *testing.T) {
	for name, tc := range map[string]struct {
		step    time.Duration
		answers string
		want    []State
		lines   int // in the log that raise the doubt
	}{
		"ever since the start": {answers: "401 401", want: []State{AllUnauthorized, AllUnauthorized}, lines: 1},
		"others get in":        {step: time.Minute, answers: "yes 401 no 401 yes", want: []State{Ready, Ready, Ready, Ready, Ready}},
		"for a minute":         {step: 30 * time.Second, answers: "yes 401 401 401 yes", want: []State{Ready, Ready, Ready, AllUnauthorized, Ready}, lines: 1},
		"failing meanwhile":    {step: time.Minute, answers: "yes 500 401 500 401", want: []State{Ready, Failing, Ready, Failing, AllUnauthorized}, lines: 1},
	} {
		t.Run(name, func(t *testing.T) {
			got, w, logged := healthOf(t, tc.step, strings.Fields(tc.answers)...)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if n := strings.Count(strings.Join(logged, "\n"), "may not accept our credential"); n != tc.lines {
				t.Errorf("%d lines say so, want %d: %q", n, tc.lines, logged)
			}
			if s := w.Status(); (s.State == AllUnauthorized) != strings.Contains(s.Detail, "may not accept our credential") {
				t.Errorf("state %s with %q", s.State, s.Detail)
			}
		})
	}
}

func TestWebhookCountsAnswers(t *testing.T) {
	_, w, _ := healthOf(t, time.Second, "yes", "no", "401", "401", "500", "yes")
	want := map[Result]uint64{Accepted: 2, Refused: 1, Unauthorized: 2, Failed: 1}
	if diff := cmp.Diff(want, w.Status().Counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestWebhookRefusalByStatusEndsStreams: a 401 for a token ends its streams when
// the webhook answers others meanwhile, and not when it may be the proxy's
// credential that is refused.
func TestWebhookRefusalByStatusEndsStreams(t *testing.T) {
	clk := clocktesting.NewFakePassiveClock(time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC))
	s := tokentest.ServeReviews(t, tokentest.Says(tokentest.SaysAlice))
	w := newTest(t, s, func(c *Config) { c.Clock = clk })
	answer := func(code int) {
		if s.AnswerWith(tokentest.Says(tokentest.SaysAlice)); code != 200 {
			s.AnswerWith(tokentest.Writes(code, ""))
		}
	}
	ask := func(raw string, again bool, want string) {
		t.Helper()
		clk.SetTime(clk.Now().Add(15 * time.Second))
		asked := token.Parse(raw)
		if again {
			asked.Purpose = token.ForRecheck
		}
		got := "yes"
		switch _, _, err := w.AuthenticateToken(t.Context(), asked); {
		case errors.Is(err, token.ErrUndecided):
			got = "undecided"
		case err != nil:
			got = "no"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
	ask("stream", false, "yes")
	answer(401)
	ask("stream", true, "undecided")
	ask("stream", true, "undecided")
	answer(200) // the credential is renewed
	ask("stream", true, "yes")
	ask("other", false, "yes")
	answer(401)
	ask("stream", true, "undecided") // the one before is forgotten
	answer(200)
	ask("another", false, "yes")
	answer(401)
	ask("stream", true, "no")
}
