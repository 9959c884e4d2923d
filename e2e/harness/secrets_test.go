package harness

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestSecretsAreFound(t *testing.T) {
	ca, err := NewCA(t.TempDir(), "ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Client(t.TempDir(), "user")
	if err != nil {
		t.Fatal(err)
	}
	var s Secrets
	s.Add("static-token-of-a-test")
	s.Add("short")
	s.AddKey(pair.Key)
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2EifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"nothing":               {"GET /clusters/root 401 issuer https://127.0.0.1:1 user alice short", false},
		"a certificate":         {string(pair.Cert), false},
		"a token":               {"token " + jwt, true},
		"a token without end":   {jwt[:45], true},
		"a token in base64":     {base64.RawURLEncoding.EncodeToString([]byte(jwt)), true},
		"a named secret":        {"Bearer static-token-of-a-test", true},
		"a named secret hidden": {base64.RawURLEncoding.EncodeToString([]byte("static-token-of-a-test")), true},
		"a private key":         {string(pair.Key), true},
		"a private key's line":  {strings.Split(string(pair.Key), "\n")[1], true},
	} {
		if got := s.In([]byte(tt.text)); len(got) > 0 != tt.want {
			t.Errorf("%s: found %q, want some: %t", name, got, tt.want)
		}
	}
}
