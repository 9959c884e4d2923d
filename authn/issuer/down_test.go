package issuer

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/internal/jwks"
)

// Ten minutes of an issuer that fails after it was ready, or that never was,
// under tokens that come every second: what is known goes on, what is not is
// unavailable and never refused, and the issuer is asked seldom.
func TestDownUnderLoad(t *testing.T) {
	const minutes = 10
	for name, tc := range map[string]struct {
		ready bool
		known string
		most  int // readings
	}{
		// One that a token causes every 10 s, and those that grow to a minute apart.
		"after it was ready": {true, "ok", minutes*60/int(jwks.RefetchEvery/time.Second) + minutes*60/45 + 10},
		"from the start":     {false, "unavailable", minutes*60/int(UndiscoveredEvery/time.Second) + 10},
	} {
		t.Run(name, func(t *testing.T) {
			s, other := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
			fails := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }
			clock := clocktesting.NewFakeClock(time.Now())
			p := running(t, Config{Clock: clock})
			if !tc.ready {
				s.Handle(issuertest.DiscoveryPath, fails)
			}
			i := acquire(t, p, refOf(s))
			if tc.ready {
				<-i.Attempted()
				<-i.Ready()
			}
			s.Handle(issuertest.DiscoveryPath, fails)
			s.Handle(issuertest.KeysPath, fails)
			known, before := s.Sign(nil), s.Discoveries()+s.KeyFetches()
			forged := s.Sign(nil, issuertest.KeyOf(other))
			for n := range minutes * 60 {
				unknown := s.Sign(nil, issuertest.KeyID(fmt.Sprint("unknown-", n)))
				got := []string{outcome(verify(i, known)), outcome(verify(i, unknown))}
				want := []string{tc.known, "unavailable"}
				if tc.ready {
					got, want = append(got, outcome(verify(i, forged))), append(want, "refused")
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("after %d s (-want +got):\n%s", n, diff)
				}
				clock.Step(time.Second)
			}
			if n := s.Discoveries() + s.KeyFetches() - before; n > tc.most || n < minutes {
				t.Errorf("the issuer was asked %d times, want %d to %d", n, minutes, tc.most)
			}
			s.Handle(issuertest.DiscoveryPath, nil)
			s.Handle(issuertest.KeysPath, nil)
			s.RotateKeeping()
			clock.Step(jwks.RefetchEvery)
			if err := verify(i, s.Sign(nil)); err != nil {
				t.Errorf("by a new key when it is back: %v", err)
			}
		})
	}
}
