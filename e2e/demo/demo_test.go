package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"frontproxy/e2e/harness"
)

// The demo shows what it says, says that it is ready, ends on Ctrl-C, and
// leaves neither processes nor files. In between, what docs/quick-start.md says
// is done.
func TestDemo(t *testing.T) {
	release, err := harness.Exclusive()
	check(t, err)
	defer release()
	dir := t.TempDir()
	binary := filepath.Join(dir, "demo")
	build := exec.Command("go", "build", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	work := filepath.Join(dir, "tmp")
	check(t, os.Mkdir(work, 0o700))

	out := &output{ready: make(chan struct{})}
	demo := exec.Command(binary)
	demo.Env = append(os.Environ(), "TMPDIR="+work)
	demo.Stdout, demo.Stderr = out, out
	check(t, demo.Start())
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()
	deadline := time.NewTimer(10 * time.Minute)
	defer deadline.Stop()
	select {
	case <-out.ready:
		quickStart(t, out.shellFile())
		check(t, demo.Process.Signal(os.Interrupt))
		err = <-ended
	case err = <-ended:
		t.Errorf("it ended before it was ready")
	case <-deadline.C:
		check(t, demo.Process.Signal(syscall.SIGTERM))
		err = <-ended
		t.Errorf("it was not ready in time")
	}
	if err != nil {
		t.Errorf("it ended with %v, want exit status 0", err)
	}
	for _, want := range []string{"oidc:alice@example.com", "configmap/hello created", "wants you to log in at", "You are oidc:alice@example.com", "Forbidden", "You must be logged in", "audience: the token is for", "Forwarded as: oidc:alice@example.com", "front-proxy statusz", "front_proxy_decisions_total{outcome=\"refused\",scope=\"\"}", "\ndemo ready"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it did not print %q", want)
		}
	}
	if left := processesWith(t, work); len(left) > 0 {
		t.Errorf("it left processes: %q", left)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
		t.Errorf("it left files: %v %v", left, err)
	}
	if t.Failed() {
		t.Logf("what it printed:\n%s", out)
	}
}

// output keeps what is printed and tells when a line starts with "demo ready".
type output struct {
	mu    sync.Mutex // guards what follows
	text  bytes.Buffer
	told  bool
	ready chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if !o.told && bytes.Contains(o.text.Bytes(), []byte("\ndemo ready")) {
		o.told = true
		close(o.ready)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var sourced = regexp.MustCompile(`(?m)^  source (/\S+)$`)

// shellFile is the file that a second terminal is told to read.
func (o *output) shellFile() string {
	if m := sourced.FindStringSubmatch(o.String()); m != nil {
		return m[1]
	}
	return ""
}

// processesWith are the command lines of processes that mention dir.
func processesWith(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(t, err)
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
