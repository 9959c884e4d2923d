package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Secrets are credentials that must be found in nothing a proxy writes. The zero
// value is ready; it is safe for concurrent use.
type Secrets struct {
	mu    sync.Mutex // guards known
	known map[string]bool
}

// shortest is how long a secret is at least: a shorter one would be found by
// chance.
const shortest = 8

// Add says that s must be found nowhere, plain or in base64. What is shorter
// than eight characters is left out.
func (s *Secrets) Add(secret string) {
	if len(secret) < shortest {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]bool{}
	}
	s.known[secret] = true
	s.known[base64.RawURLEncoding.EncodeToString([]byte(secret))] = true
	// The signature is what makes a token one.
	if i := strings.LastIndexByte(secret, '.'); i >= 0 && len(secret)-i > 20 {
		s.known[secret[i+1:]] = true
	}
}

// AddKey adds a private key in PEM: every line of it.
func (s *Secrets) AddKey(text []byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		for line := range strings.Lines(string(pem.EncodeToMemory(block))) {
			if line = strings.TrimSpace(line); len(line) > 40 && !strings.HasPrefix(line, "-") {
				s.Add(line)
			}
		}
	}
}

// shapes find credentials that nobody has added, by how they begin: signed tokens, the same in a
// WebSocket subprotocol, and private keys in PEM or in a kubeconfig. They are searched for by their
// first characters, because one expression for all would be tried at every byte of a log.
var shapes = []struct {
	begin string
	shape *regexp.Regexp
}{
	{"eyJ", regexp.MustCompile(`^eyJ[\w-]{8,}\.eyJ[\w-]{8,}`)},
	{"ZXlK", regexp.MustCompile(`^ZXlK[\w-]{40,}`)},
	{"PRIVATE KEY", regexp.MustCompile(`^`)},
	{"client-key-data", regexp.MustCompile(`^`)},
}

// shaped calls found with each position in text at which a credential of one of the shapes begins,
// until found returns false.
func shaped(text []byte, found func(at int) bool) {
	for _, s := range shapes {
		for at := 0; ; at++ {
			next := bytes.Index(text[at:], []byte(s.begin))
			if next < 0 {
				break
			}
			if at += next; s.shape.Match(text[at:]) && !found(at) {
				return
			}
		}
	}
}

// In returns what is found in text, each with a few characters of where, and
// none of the secret but its beginning.
func (s *Secrets) In(text []byte) []string {
	var found []string
	shaped(text, func(at int) bool {
		found = append(found, fmt.Sprintf("by its shape: …%s…", text[max(0, at-120):min(len(text), at+12)]))
		return len(found) < 5
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	// One way through the text for all secrets: there are thousands of each.
	known := map[[shortest]byte][]string{}
	var begins [1 << 16]bool // by their first two bytes
	for secret := range s.known {
		head := [shortest]byte([]byte(secret))
		known[head] = append(known[head], secret)
		begins[binary.BigEndian.Uint16(head[:])] = true
	}
	seen := map[string]bool{}
	for i := 0; i+shortest <= len(text); i++ {
		if !begins[binary.BigEndian.Uint16(text[i:])] {
			continue
		}
		for _, secret := range known[[shortest]byte(text[i:])] {
			if !seen[secret] && bytes.HasPrefix(text[i:], []byte(secret)) {
				seen[secret] = true
				found = append(found, fmt.Sprintf("a secret in use: …%s…", text[max(0, i-120):min(len(text), i+6)]))
			}
		}
	}
	return found
}

// Leaks searches what the proxies logged, and what they answered to requests of
// Token and Admin that failed, for every token that Token was given and every
// private key below Dir.
func (e *Environment) Leaks() ([]string, error) {
	err := filepath.WalkDir(e.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".key" {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // in our work directory
		e.secrets.AddKey(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("collect private keys: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(e.Logs(), "proxy*.log"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no logs of a proxy in %s (%w)", e.Logs(), err)
	}
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // in our work directory
		if err != nil {
			return nil, err
		}
		for _, leak := range e.secrets.In(text) {
			found = append(found, filepath.Base(file)+": "+leak)
		}
	}
	e.refusals.mu.Lock()
	defer e.refusals.mu.Unlock()
	for _, leak := range e.secrets.In(e.refusals.text.Bytes()) {
		found = append(found, "an answer: "+leak)
	}
	return found, nil
}

// refusals are the answers to requests that failed.
type refusals struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// wrap makes a transport that keeps them.
func (r *refusals) wrap(next http.RoundTripper) http.RoundTripper {
	return keeping{next, r}
}

type keeping struct {
	next     http.RoundTripper
	refusals *refusals
}

// WrappedRoundTripper lets client-go find the transport itself.
func (k keeping) WrappedRoundTripper() http.RoundTripper { return k.next }

// RoundTrip implements http.RoundTripper.
func (k keeping) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := k.next.RoundTrip(request)
	if err != nil || response.StatusCode < http.StatusBadRequest {
		return response, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	k.refusals.mu.Lock()
	defer k.refusals.mu.Unlock()
	_, _ = fmt.Fprintf(&k.refusals.text, "%v\n%s\n", response.Header, body)
	return response, nil
}
