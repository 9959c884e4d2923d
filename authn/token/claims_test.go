package token

import (
	"testing"
)

func FuzzReadClaims(f *testing.F) {
	f.Add(`{"aud":["a"],"exp":1e300,"nbf":-1}`)
	f.Add(`{"aud":"a","AUD":null,"exp":1.5}`)
	f.Fuzz(func(t *testing.T, payload string) {
		claims, err := ReadClaims(withPayload(payload))
		if err == nil && (claims.Expiry.Year() > 9999 || claims.Expiry.Year() < -9999) {
			t.Errorf("expiry %s", claims.Expiry)
		}
	})
}
