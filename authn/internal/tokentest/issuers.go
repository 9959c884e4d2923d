package tokentest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/issuer"
	"frontproxy/authn/token"
)

// RunPool returns a pool that runs until the test ends.
func RunPool(t testing.TB, config issuer.Config) *issuer.Pool {
	t.Helper()
	p := issuer.NewPool(config)
	Background(t, p.Run)
	return p
}

// Background runs run until the test ends.
func Background(t testing.TB, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// Ask asks until the issuer's keys were read.
func Ask(t *testing.T, a token.Authenticator, raw string) (user.Info, error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		u, _, err := a.AuthenticateToken(t.Context(), token.Parse(raw))
		if !errors.Is(err, token.ErrUndecided) || time.Now().After(deadline) {
			if err != nil {
				for _, part := range strings.Split(raw, ".") {
					if len(part) > 20 && strings.Contains(err.Error(), part) {
						t.Errorf("the error holds a part of the token: %v", err)
					}
				}
			}
			return u, err
		}
	}
}
