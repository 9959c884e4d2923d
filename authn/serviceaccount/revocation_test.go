package serviceaccount

import (
	"errors"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestCheckRevoked(t *testing.T) {
	w := &keyWorld{t: t, gone: map[string]error{}}
	clock := clocktesting.NewFakePassiveClock(testNow)
	a, err := New(Config{Issuers: []string{testIssuer}, Keys: NewKeySet(testKey(rsaKey())), Home: w, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	raw := tokenOf(t, bound())
	_, until, err := a.authenticate(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	clock.SetTime(until.Add(time.Hour))
	if _, _, err := a.authenticate(t.Context(), raw); err == nil {
		t.Error("an expired token is accepted")
	}
	if err := a.checkRevoked(t.Context(), raw, until); err != nil {
		t.Errorf("after its end: %v", err)
	}
	w.gone[testHome] = errors.New("down")
	if err := a.checkRevoked(t.Context(), raw, until); !errors.Is(err, ErrUndecided) {
		t.Errorf("while the home is down: %v", err)
	}
	w.gone[testHome] = ErrNotFound
	var refusal *RefusalError
	if err := a.checkRevoked(t.Context(), raw, until); !errors.As(err, &refusal) || refusal.Reason != AccountGone {
		t.Errorf("after the account is gone: %v", err)
	}
	if err := a.checkRevoked(t.Context(), sign(t, otherRSA(), "RS256", "own", []byte("{}")), until); !errors.As(err, &refusal) || refusal.Reason != UnknownKey {
		t.Errorf("with a key that is gone: %v", err)
	}
}
