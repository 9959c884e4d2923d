package proxy

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestOtherProxiesHeadersEndHere: by whatever a client spells them, and wherever
// the request goes; what names the way of a request goes on.
func TestOtherProxiesHeadersEndHere(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.mapping = "- path: /custom/\n  backend: " + s.URL + "\n  user_header: X-Forwarded-User" + tlsEntry
	f := w.front(t)
	names := slices.Concat(assertingHeaders, requestHeaders)
	for _, p := range assertingPrefixes {
		names = append(names, p+"x")
	}
	var lines []string
	for _, name := range names {
		for _, spelling := range spellings(http.CanonicalHeaderKey(name)) {
			lines = append(lines, spelling+": a-clients-word")
		}
	}
	goOn := []string{"X-Forwarded-Proto: http", "X-Forwarded-Host: front.example", "Forwarded: for=1.2.3.4", "X-Request-Id: 7", "X-Method: a-header-of-somebody"}
	for _, path := range []string{"/clusters/root:ws/api", "/custom/x"} {
		for _, more := range []string{"", "Connection: X-Forwarded-User, X-Http-Method-Override\r\n"} {
			res, body := f.raw(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\n"+more+strings.Join(append(lines, goOn...), "\r\n")+"\r\n\r\n")
			if res.StatusCode != 200 {
				t.Fatalf("answer %d %s", res.StatusCode, body)
			}
			got := s.one(t)
			for key, values := range got.Header {
				if slices.Contains(values, "a-clients-word") {
					t.Errorf("%s: header %s reached the server", path, key)
				}
			}
			for _, line := range goOn {
				if name, value, _ := strings.Cut(line, ": "); got.Header.Get(name) != value {
					t.Errorf("%s: header %s is %q, want %q", path, name, got.Header.Get(name), value)
				}
			}
			if user := got.Header.Get("X-Forwarded-User"); path == "/custom/x" && user != "alice" {
				t.Errorf("the header that the mapping names says %q", user)
			}
		}
	}
}

func TestEndsHere(t *testing.T) {
	for key, want := range map[string]bool{
		"X-Forwarded-Client-Cert": true, "x_forwarded_client_cert": true, "X-HTTP-Method-Override": true, "X-Auth-Request-Email": true,
		"X-Forwarded-For": false, "X-Forwarded-Users": false, "X-Forwarded-Clien": false, "": false, "X": false, "Authorization": false, strings.Repeat("X", 500): false,
	} {
		if got := endsHere(key); got != want {
			t.Errorf("endsHere(%q) = %t", key, got)
		}
	}
}
