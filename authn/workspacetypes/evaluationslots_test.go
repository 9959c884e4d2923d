package workspacetypes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"frontproxy/authn/internal/tokentest"
	"frontproxy/authn/internal/typestest"
	"frontproxy/authn/issuer/issuertest"
	"frontproxy/authn/jwt"
	"frontproxy/authn/token"
	"frontproxy/index"
	"frontproxy/internal/polltest"
)

// All types of one owner share its slots; another owner has its own.
func TestEvaluationsAreBoundedForAnOwner(t *testing.T) {
	s := issuertest.Serve(t, issuertest.Options{})
	w := newTypeWorld(t, Config{})
	w.placement.Move("c2", "root")
	w.synced()
	spec := tokentest.SpecFor(s, tokentest.With(tokentest.Object{"expression": "claims.sub"}, "claimMappings", "username"))
	n := evaluationsOfOwner()
	for i := range n + 1 {
		w.SetConfig("root", "c1", fmt.Sprint("config-", i), spec)
		w.SetType("root", "c1", fmt.Sprint("type-", i), fmt.Sprint("config-", i))
	}
	w.SetConfig("root", "c2", "config", spec)
	w.SetType("root", "c2", "type", "config")
	authenticatorOf := func(cluster, name string) jwt.BoundedAuthenticator {
		t.Helper()
		var found jwt.BoundedAuthenticator
		polltest.UntilState(t, "the type to be ready", func() (ok bool, state string) {
			types, err := w.index.Authenticators(index.Type{Cluster: cluster, Name: name})
			if err != nil || types == nil || len(types.ByIssuer[s.URL()]) != 1 {
				return false, fmt.Sprintf("%+v, %v", types, err)
			}
			found, ok = types.ByIssuer[s.URL()][0].(jwt.BoundedAuthenticator)
			return ok, "not built"
		})
		return found
	}
	for i := range n {
		authenticatorOf("c1", fmt.Sprint("type-", i)).Owners <- struct{}{}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	last := authenticatorOf("c1", fmt.Sprint("type-", n))
	<-last.Issuer().Ready()
	parsed := token.Parse(s.Sign(issuertest.Claims{"sub": "alice", "aud": "app"}))
	if _, _, err := last.AuthenticateToken(ended, parsed); !errors.Is(err, token.ErrUndecided) || !strings.Contains(err.Error(), "owner") {
		t.Errorf("a type more of the same owner: %v, want undecided because of the owner's other types", err)
	}
	if diff := cmp.Diff(0, len(last.Types)); diff != "" {
		t.Errorf("the type's slots taken afterwards (-want +got):\n%s", diff)
	}
	if _, _, err := authenticatorOf("c2", "type").AuthenticateToken(context.Background(), parsed); err != nil {
		t.Errorf("a type of another owner: %v", err)
	}
	for i := range n + 1 {
		w.Tables["root"][typestest.TypesResource].Delete(w.TypeOf("c1", fmt.Sprint("type-", i)))
	}
	w.index.mu.Lock()
	defer w.index.mu.Unlock()
	if diff := cmp.Diff(1, len(w.index.shards["root"].owners)); diff != "" {
		t.Errorf("owners kept after all types of one are gone (-want +got):\n%s", diff)
	}
}
