package issuer

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/issuer/issuertest"
)

// TestFirstReadingUsesUpNoRefetch: a token that came while the
// keys were not known yet has not used up the next unknown key's turn.
func TestFirstReadingUsesUpNoRefetch(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	s.SetDown(true)
	clock := clocktesting.NewFakeClock(time.Now())
	i := acquire(t, running(t, Config{Clock: clock}), refOf(s))
	if got := outcome(verify(i, s.Sign(nil))); got != "unavailable" {
		t.Fatalf("while down: %s", got)
	}
	s.SetDown(false)
	clock.Step(UndiscoveredEvery)
	if err := verify(i, s.Sign(nil)); err != nil { // causes the first reading
		t.Fatal(err)
	}
	s.RotateKeeping()
	if err := verify(i, s.Sign(issuertest.Claims{"iat": clock.Now().Unix()})); err != nil {
		t.Errorf("a new key just after the first reading: %v", err)
	}
}
