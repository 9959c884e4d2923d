package workspacetypes

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/internal/typestest"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/token"
	"frontproxy/index"
)

// Valid tokens never fail because of what happens around them: no-op updates,
// relists, real changes that leave their trust alone, the issuer's key
// rotation, a broken and a hostile neighbour.
func TestTypeIndexSteadyLoad(t *testing.T) {
	s, neighbour := issuertest.Serve(t, issuertest.Options{}), issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{}).synced()
	edited := func(n int) string {
		return tokentest.SpecFor(s, tokentest.With([]string{"app", fmt.Sprint("extra", n)}, "issuer", "audiences"), tokentest.With("MatchAny", "issuer", "audienceMatchPolicy"))
	}
	w.SetConfig("root", "c1", "x", edited(0))
	w.SetConfig("root", "c1", "y", tokentest.SpecFor(neighbour))
	w.SetType("root", "c1", "team", "x", "y")
	w.want("ready", tokentest.Accepted, "team", s)
	w.want("ready", tokentest.Accepted, "team", neighbour)

	var asked, accepted atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ctx.Err() == nil; n++ {
				raw := s.Sign(issuertest.Claims{"sub": fmt.Sprint(worker, n%50), "aud": "app"})
				asked.Add(1)
				if reason := firstRefusal(w.index, s.URL(), raw); reason != "" {
					t.Errorf("after %d tokens: %s", accepted.Load(), reason)
					return
				}
				accepted.Add(1)
			}
		}()
	}
	for n := range 100 {
		w.SetConfig("root", "c1", "x", edited(n%3))
		w.SetConfig("root", "c1", "x", strings.Replace(edited(n%3), "{", " {", 1))
		w.SetConfig("root", "c1", "y", []string{tokentest.SpecFor(neighbour), "{}", `{"jwt":7}`, tokentest.SpecFor(neighbour, tokentest.With("https://127.0.0.1:1", "issuer", "url"))}[n%4])
		w.List("root", typestest.ConfigsResource, w.Decode(typestest.ConfigsResource, "c1", "x", edited(n%3)))
		w.List("root", typestest.TypesResource, w.TypeOf("c1", "team", "y", "x"))
		if n == 50 {
			s.RotateKeeping()
		}
		for before := accepted.Load(); accepted.Load() < before+4 && !t.Failed(); {
			_ = firstRefusal(w.index, s.URL(), neighbour.Sign(nil))
		}
	}
	cancel()
	wg.Wait()
	if asked.Load() != accepted.Load() {
		t.Errorf("%d tokens of %d accepted", accepted.Load(), asked.Load())
	}
}

// firstRefusal says why nobody accepts raw; empty when somebody does.
func firstRefusal(x *Index, issuerURL, raw string) string {
	published, err := x.Authenticators(index.Type{Cluster: "c1", Name: "team"})
	if err != nil || published == nil {
		return fmt.Sprintf("no authenticators: %v", err)
	}
	reasons := fmt.Sprint(published.Undecided)
	for _, m := range published.ByIssuer[issuerURL] {
		u, _, err := m.AuthenticateToken(context.Background(), token.Parse(raw))
		if err == nil && u != nil {
			return ""
		}
		reasons += fmt.Sprintf("; %s: %v", m.Name(), err)
	}
	return reasons
}
