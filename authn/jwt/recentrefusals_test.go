package jwt

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/token"
)

func TestRecentRefusalsAreThoseOfTheLastHour(t *testing.T) {
	start := time.Date(2026, 11, 30, 12, 2, 0, 0, time.UTC)
	var r recentRefusals
	if got := r.counts(start); got != nil {
		t.Errorf("before the first refusal: %v", got)
	}
	r.add(nil, start)
	r.add(token.Refuse(token.ReasonExpired, "expired"), start)
	r.add(fmt.Errorf("%w: no keys", token.ErrUndecided), start)
	for range 3 {
		r.add(token.Refuse(token.ReasonExpired, "expired"), start.Add(30*time.Minute))
	}
	r.add(errors.New("a rule says no"), start.Add(40*time.Minute))
	for name, tc := range map[string]struct {
		after time.Duration
		want  map[token.Reason]int
	}{
		"all":                        {40 * time.Minute, map[token.Reason]int{token.ReasonExpired: 4, Undecided: 1, token.ReasonClaims: 1}},
		"the last moment of an hour": {57 * time.Minute, map[token.Reason]int{token.ReasonExpired: 4, Undecided: 1, token.ReasonClaims: 1}},
		"without the first":          {58 * time.Minute, map[token.Reason]int{token.ReasonExpired: 3, token.ReasonClaims: 1}},
		"none":                       {2 * time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.counts(start.Add(tc.after))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	r.add(token.Refuse(token.ReasonAudience, "audience"), start.Add(time.Hour)) // in the first one's place
	if diff := cmp.Diff(map[token.Reason]int{token.ReasonExpired: 3, token.ReasonClaims: 1, token.ReasonAudience: 1}, r.counts(start.Add(time.Hour))); diff != "" {
		t.Errorf("an hour later (-want +got):\n%s", diff)
	}
}
