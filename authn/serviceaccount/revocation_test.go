package serviceaccount

import (
	"errors"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/token"
)

func TestCheckRevoked(t *testing.T) {
	w := &keyWorld{t: t, gone: map[string]error{}}
	clock := clocktesting.NewFakePassiveClock(testNow)
	a, err := New(Config{Issuers: []string{testIssuer}, Keys: NewKeySet(testKey(rsaKey())), Accounts: w, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	raw := tokenOf(t, bound())
	_, until, err := authenticate(t.Context(), a, raw)
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(until.Add(time.Hour))
	if _, _, err := authenticate(t.Context(), a, raw); err == nil {
		t.Error("an expired token is accepted")
	}
	if _, err := a.CheckRevoked(t.Context(), token.Parse(raw), until); err != nil {
		t.Errorf("after its end: %v", err)
	}
	w.gone[testHome] = errors.New("down")
	if _, err := a.CheckRevoked(t.Context(), token.Parse(raw), until); !errors.Is(err, ErrUndecided) {
		t.Errorf("while the home is down: %v", err)
	}
	w.gone[testHome] = ErrNotFound
	var refusal *token.RefusalError
	if _, err := a.CheckRevoked(t.Context(), token.Parse(raw), until); !errors.As(err, &refusal) || refusal.Reason != token.ReasonAccountGone {
		t.Errorf("after the account is gone: %v", err)
	}
	if _, err := a.CheckRevoked(t.Context(), token.Parse(sign(t, otherRSA(), "RS256", "own", []byte(`{"iss":"`+testIssuer+`"}`))), until); !errors.As(err, &refusal) || refusal.Reason != token.ReasonUnknownKey {
		t.Errorf("with a key that is gone: %v", err)
	}
}
