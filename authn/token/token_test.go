package token

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withPayload is an unsigned token with this payload.
func withPayload(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(payload)) + ".c2ln"
}

func TestParseToken(t *testing.T) {
	const issuer = "https://issuer.example"
	tests := []struct {
		name, raw string
		jwt       bool
		issuer    string
	}{
		{name: "plain", raw: withPayload(`{"iss":"https://issuer.example","sub":"a"}`), jwt: true, issuer: issuer},
		{name: "spaces", raw: withPayload(" { \"sub\" : [1,{\"iss\":\"no\"},\"}\"] ,\n\"iss\" : \"https://issuer.example\" } "), jwt: true, issuer: issuer},
		{name: "no issuer", raw: withPayload(`{"sub":"a"}`), jwt: true},
		{name: "no claims", raw: withPayload(`{}`), jwt: true},
		{name: "twice, the last wins", raw: withPayload(`{"iss":"https://other.example","iss":"https://issuer.example"}`), jwt: true, issuer: issuer},
		{name: "another case wins too", raw: withPayload(`{"iss":"https://other.example","ISS":"https://issuer.example"}`), jwt: true, issuer: issuer},
		{name: "folding beyond ASCII", raw: withPayload(`{"iss":"https://other.example","iſs":"https://issuer.example"}`), jwt: true, issuer: issuer},
		{name: "escaped key", raw: withPayload(`{"iss":"https://other.example","\u0069ss":"https://issuer.example"}`), jwt: true, issuer: issuer},
		{name: "escaped value", raw: withPayload(`{"iss":"https:\/\/issuer.example"}`), jwt: true, issuer: issuer},
		{name: "nested only", raw: withPayload(`{"a":{"iss":"https://issuer.example"}}`), jwt: true},
		{name: "null keeps the other", raw: withPayload(`{"iss":"https://issuer.example","iss":null}`), jwt: true, issuer: issuer},
		{name: "Google without scheme", raw: withPayload(`{"iss":"accounts.google.com"}`), jwt: true, issuer: "https://accounts.google.com"},
		{name: "issuer is a number", raw: withPayload(`{"iss":1}`)},
		{name: "issuer is a list", raw: withPayload(`{"iss":["https://issuer.example"]}`)},
		{name: "payload is no object", raw: withPayload(`["iss"]`)},
		{name: "payload is cut", raw: withPayload(`{"iss":"https://issuer.example"`)},
		{name: "more after the payload", raw: withPayload(`{"iss":"https://issuer.example"}{}`)},
		{name: "no signature part", raw: strings.TrimSuffix(withPayload(`{"iss":"a"}`), ".c2ln")},
		{name: "empty signature", raw: strings.TrimSuffix(withPayload(`{"iss":"a"}`), "c2ln"), jwt: true, issuer: "a"},
		{name: "four parts", raw: withPayload(`{"iss":"a"}`) + ".x"},
		{name: "line end inside", raw: strings.Replace(withPayload(`{"iss":"a"}`), ".", "\n.", 1)},
		{name: "padding", raw: withPayload(`{"iss":"a"}`) + "="},
		{name: "header is no JSON", raw: "AAAA." + strings.Split(withPayload(`{"iss":"a"}`), ".")[1] + ".x"},
		{name: "opaque", raw: "sha256~abcdef"},
		{name: "empty", raw: ""},
		{name: "dots", raw: ".."},
		{name: "1 MB", raw: withPayload(`{"iss":"a","x":"` + strings.Repeat("x", 1<<20) + `"}`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := Token{Raw: tt.raw, JWT: tt.jwt, Issuer: tt.issuer}
			if diff := cmp.Diff(want, Parse(tt.raw)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestLongKeys: no key that is too long to be "iss", however it is escaped, costs memory of its own.
func TestLongKeys(t *testing.T) {
	for name, key := range map[string]string{"escapes": `"\u0069ss` + strings.Repeat(`\u0069`, 1000) + `"`, "not UTF-8": `"` + strings.Repeat("\xff", 1000) + `"`} {
		if n := testing.AllocsPerRun(10, func() {
			if isIssuer([]byte(key)) {
				t.Errorf("%s: is taken for the issuer", name)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if key := `"\u0069\u017f\u0053"`; !isIssuer([]byte(key)) {
		t.Errorf("the longest spelling, %s, is not taken for the issuer", key)
	}
}

// Whatever encoding/json reads, which is what verifies, Parse reads too.
func FuzzParseToken(f *testing.F) {
	for _, s := range []string{
		`{"iss":"a"}`, `{"iss":"a","ISS":"b"}`, `{"iss":null}`, `{"iss" : 1}`, `{}`, `{ }`, `{"a":[{"iss":"x"}],"iss":"y"}`,
		`{"\u0069ss":"a"}`, `{"iſs":"a","iss":"b"}`, `{"a":"\\","iss":"\""}`, `{"a":,"iss":"b"}`, `{"iss":"b",}`,
	} {
		f.Add(s, withPayload(s))
	}
	f.Fuzz(func(t *testing.T, payload, raw string) {
		Parse(raw) // must not panic
		got := Parse(withPayload(payload))
		var claims struct {
			Issuer string `json:"iss"`
		}
		if err := json.Unmarshal([]byte(payload), &claims); err != nil || !looksLikeObject([]byte(payload)) || len(payload) > maxParsedToken/2 {
			return
		}
		want := claims.Issuer
		if want == googleIssuerNoScheme {
			want = googleIssuer
		}
		if !got.JWT || got.Issuer != want {
			t.Errorf("payload %q: got JWT %v of %q, encoding/json reads %q", payload, got.JWT, got.Issuer, want)
		}
	})
}

func BenchmarkParseToken(b *testing.B) {
	raw := withPayload(`{"aud":["a","b"],"exp":1800000000,"iat":1700000000,"iss":"https://issuer.example","groups":["` +
		strings.Repeat(`group","`, 40) + `last"],"sub":"alice"}`)
	b.ReportAllocs()
	for b.Loop() {
		if !Parse(raw).JWT {
			b.Fatal("no JWT")
		}
	}
}
