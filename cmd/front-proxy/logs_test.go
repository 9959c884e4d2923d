package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// written is what the proxies of all tests logged, and what they answered to
// requests that they refused. Set by TestMain.
var written = &record{secrets: map[string]bool{}}

// record keeps text and the secrets that must not be in it.
type record struct {
	file *os.File // the log; also what os.Stderr is

	mu      sync.Mutex // guards what follows
	answers bytes.Buffer
	secrets map[string]bool
}

// recorded runs the tests with everything the program logs in a file, and
// fails when a credential that a test used is found there.
func recorded(run func() int) int {
	stderr := os.Stderr
	file, err := os.CreateTemp("", "front-proxy-tests-*.log")
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	// The program's logging takes os.Stderr when it is first applied.
	written.file, os.Stderr = file, file
	code := run()
	os.Stderr = stderr
	if found := written.leaks(); len(found) > 0 {
		fmt.Fprintf(stderr, "FAIL: credentials in what the program wrote:\n%s\n", strings.Join(found, "\n"))
		code = 1
	}
	_ = file.Close()
	if code != 0 {
		fmt.Fprintf(stderr, "what the program logged is in %s\n", file.Name())
		return code
	}
	_ = os.Remove(file.Name())
	return code
}

// secret says that s must be found nowhere, plain or in base64.
func (r *record) secret(s string) {
	if len(s) < 8 {
		return // it would be found by chance
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[s] = true
	r.secrets[base64.RawURLEncoding.EncodeToString([]byte(s))] = true
	// The signature is what makes a token one; a token cut before it is none.
	if i := strings.LastIndexByte(s, '.'); i >= 0 && len(s)-i > 20 {
		r.secrets[s[i+1:]] = true
	}
}

// answer keeps a refusal's body.
func (r *record) answer(body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers.Write(body)
}

// shapes find credentials that no test has named: signed tokens, the same in a
// WebSocket subprotocol, private keys in PEM, and PKCS 8 or 1 in base64.
var shapes = regexp.MustCompile(`eyJ[\w-]{8,}\.eyJ[\w-]{8,}(\.[\w-]*)?|ZXlK[\w-]{40,}|PRIVATE KEY|MIGHAgEAMBMG|MII[EJ][\w+/]{200,}`)

// leaks returns what was found, each in a few characters.
func (r *record) leaks() []string {
	log, err := os.ReadFile(r.file.Name())
	if err != nil {
		return []string{err.Error()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(leaksIn("log", log, r.secrets), leaksIn("answers", r.answers.Bytes(), r.secrets)...)
}

func leaksIn(where string, text []byte, secrets map[string]bool) []string {
	var found []string
	for _, at := range shapes.FindAllIndex(text, 5) {
		found = append(found, fmt.Sprintf("%s: by its shape: …%s…", where, text[max(0, at[0]-120):min(len(text), at[0]+12)]))
	}
	for s := range secrets {
		if i := bytes.Index(text, []byte(s)); i >= 0 {
			found = append(found, fmt.Sprintf("%s: a secret of a test: …%s…", where, text[max(0, i-120):min(len(text), i+6)]))
		}
	}
	return found
}

// logged waits until some line of the log has all the parts.
func logged(t *testing.T, parts ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		log, err := os.ReadFile(written.file.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if containsAll(line, parts) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no line of the log has all of %q", parts)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func containsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// TestLeaksAreFound: the search that ends a run finds what it is for.
func TestLeaksAreFound(t *testing.T) {
	secrets := &record{secrets: map[string]bool{}}
	secrets.secret("static-token-of-a-test")
	const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2EifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
	for name, tt := range map[string]struct {
		text string
		want int
	}{
		"nothing":               {"I1123 GET /clusters/root 401 issuer https://127.0.0.1:1 user alice", 0},
		"a token":               {"token " + jwt, 1},
		"a token without end":   {jwt[:45], 1},
		"a token in base64":     {base64.RawURLEncoding.EncodeToString([]byte(jwt)), 1},
		"a named secret":        {"Bearer static-token-of-a-test", 1},
		"a named secret hidden": {base64.RawURLEncoding.EncodeToString([]byte("static-token-of-a-test")), 1},
		"a private key":         {"-----BEGIN PRIVATE KEY-----", 1},
	} {
		if got := leaksIn("log", []byte(tt.text), secrets.secrets); len(got) != tt.want {
			t.Errorf("%s: found %q, want %d", name, got, tt.want)
		}
	}
}

// unlogged fails when some line of the log so far has all the parts.
func unlogged(t *testing.T, parts ...string) {
	t.Helper()
	log, err := os.ReadFile(written.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if containsAll(line, parts) {
			t.Errorf("the log has a line with %q: %s", parts, line)
		}
	}
}
