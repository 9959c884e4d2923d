package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	logsapi "k8s.io/component-base/logs/api/v1"

	"frontproxy/e2e/harness"
)

// written is what the proxies of all tests logged, and what they answered to
// requests that they refused. Set by TestMain.
var written = &record{}

// verbosity of the proxies' logs: all there is to log, for secrets are looked for in it. client-go
// itself races at 9.
const verbosity = 8

// record keeps text and the secrets that must not be in it.
type record struct {
	file    *os.File // the log; also what os.Stderr is
	secrets harness.Secrets

	mu      sync.Mutex // guards what follows
	answers bytes.Buffer
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
	// The program's logging takes os.Stderr when it is first applied: now, because with go test -json
	// package testing changes os.Stderr once more when it runs the tests.
	written.file, os.Stderr = file, file
	o := newOptions()
	o.logging.Verbosity = verbosity
	if err := logsapi.ValidateAndApply(o.logging, nil); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
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

// secret says that s must be found nowhere.
func (r *record) secret(s string) { r.secrets.Add(s) }

// answer keeps a refusal's body.
func (r *record) answer(body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers.Write(body)
}

// leaks returns what was found, each in a few characters.
func (r *record) leaks() []string {
	log, err := os.ReadFile(r.file.Name())
	if err != nil {
		return []string{err.Error()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(r.secrets.In(log), r.secrets.In(r.answers.Bytes())...)
}

// size is how much has been logged.
func (r *record) size(t *testing.T) int64 {
	t.Helper()
	info, err := r.file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// since is what has been logged after the first bytes of the log.
func (r *record) since(t *testing.T, size int64) []byte {
	t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(r.file, size, r.size(t)-size))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// logged waits until some line of the log has all the parts.
func logged(t *testing.T, parts ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for begin := int64(0); ; time.Sleep(20 * time.Millisecond) {
		text := written.since(t, begin)
		if lineWith(text, parts) != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no line of the log has all of %q", parts)
		}
		begin += int64(bytes.LastIndexByte(text, '\n') + 1) // what comes next, and a line that is being written
	}
}

// lineWith returns the first line of text that has all the parts, or nil.
func lineWith(text []byte, parts []string) []byte {
	rarest := []byte(slices.MaxFunc(parts, func(a, b string) int { return len(a) - len(b) }))
	for {
		found := bytes.Index(text, rarest)
		if found < 0 {
			return nil
		}
		begin, end := bytes.LastIndexByte(text[:found], '\n')+1, len(text)
		if n := bytes.IndexByte(text[found:], '\n'); n >= 0 {
			end = found + n
		}
		if containsAll(string(text[begin:end]), parts) {
			return text[begin:end]
		}
		text = text[end:]
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

// unlogged fails when some line of the log so far has all the parts.
func unlogged(t *testing.T, parts ...string) {
	t.Helper()
	if line := lineWith(written.since(t, 0), parts); line != nil {
		t.Errorf("the log has a line with %q: %s", parts, line)
	}
}
