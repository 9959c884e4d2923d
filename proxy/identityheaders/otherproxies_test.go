package identityheaders

import (
	"strings"
	"testing"
)

func TestAssertsOrRewrites(t *testing.T) {
	for key, want := range map[string]bool{
		"X-Forwarded-Client-Cert": true, "x_forwarded_client_cert": true, "X-HTTP-Method-Override": true, "X-Auth-Request-Email": true,
		"X-Forwarded-For": false, "X-Forwarded-Users": false, "X-Forwarded-Clien": false, "": false, "X": false, "Authorization": false, strings.Repeat("X", 500): false,
	} {
		if got := assertsOrRewrites(key); got != want {
			t.Errorf("assertsOrRewrites(%q) = %t", key, got)
		}
	}
}
