package serviceaccount

import (
	"context"
	"testing"
	"time"

	"frontproxy/authn/token"
)

func BenchmarkAuthenticateRemembered(b *testing.B) {
	a := newTest(b, nil)
	raw := tokenOf(b, bound())
	for b.Loop() {
		if _, _, err := authenticate(context.Background(), a, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateFirst(b *testing.B) {
	now := testNow
	a := newTest(b, func(c *Config) { c.Now = func() time.Time { return now } })
	raw := tokenOf(b, bound())
	for b.Loop() {
		now = now.Add(time.Nanosecond)
		a.verified.Sweep(now.Add(token.CacheLife))
		if _, _, err := authenticate(context.Background(), a, raw); err != nil {
			b.Fatal(err)
		}
	}
}
