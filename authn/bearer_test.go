package authn

import (
	"encoding/base64"
	"errors"
	"net/http"
	"testing"

	"frontproxy/authn/token"
)

func TestBearer(t *testing.T) {
	protocol := token.BearerProtocolPrefix + base64.RawURLEncoding.EncodeToString([]byte("tok"))
	socket := func(protocols ...string) http.Header {
		return http.Header{"Upgrade": {"WebSocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Protocol": protocols}
	}
	both := socket(protocol, "v5.channel.k8s.io")
	both.Set("Authorization", "Bearer other")
	for name, tc := range map[string]struct {
		headers http.Header
		want    string
		err     error
	}{
		"none":                          {},
		"bearer":                        {headers: http.Header{"Authorization": {"Bearer tok"}}, want: "tok"},
		"any case, more spaces":         {headers: http.Header{"Authorization": {" bEaReR   tok "}}, want: "tok"},
		"another scheme":                {headers: http.Header{"Authorization": {"Basic dTpw"}}},
		"empty":                         {headers: http.Header{"Authorization": {"Bearer "}}, err: errMalformedBearer},
		"bare":                          {headers: http.Header{"Authorization": {"Bearer"}}, err: errMalformedBearer},
		"two words":                     {headers: http.Header{"Authorization": {"Bearer a b"}}, err: errMalformedBearer},
		"two headers":                   {headers: http.Header{"Authorization": {"Bearer a", "Bearer a"}}, err: errTwoAuthorizations},
		"subprotocol":                   {headers: socket(protocol, "v5.channel.k8s.io"), want: "tok"},
		"subprotocol in one line":       {headers: socket("v5.channel.k8s.io, " + protocol), want: "tok"},
		"subprotocol alone":             {headers: socket(protocol), err: errMalformedProtocol},
		"subprotocol not base64":        {headers: socket(token.BearerProtocolPrefix+"=", "x"), err: errMalformedProtocol},
		"subprotocol empty":             {headers: socket(token.BearerProtocolPrefix, "x"), err: errMalformedProtocol},
		"two subprotocols":              {headers: socket(protocol, protocol, "x"), err: errTwoAuthorizations},
		"subprotocol and header":        {headers: both, err: errTwoAuthorizations},
		"subprotocol without WebSocket": {headers: http.Header{"Sec-Websocket-Protocol": {protocol, "x"}}},
		"other subprotocols":            {headers: socket("v5.channel.k8s.io")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := bearer(tc.headers)
			if got != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("bearer: got %q, %v; want %q, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
