package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"frontproxy/e2e/harness"
)

// TestDemo: `make demo` on a terminal shows what it says, says that it is ready, ends on
// Ctrl-C with status 0, and leaves neither processes nor files. In between, what
// docs/quick-start.md says is done, and the demo's own commands are repeated.
func TestDemo(t *testing.T) {
	started, release, err := harness.Shared()
	check(t, err)
	defer release()
	work := filepath.Join(t.TempDir(), "tmp")
	check(t, os.Mkdir(work, 0o700))

	out := &output{ready: make(chan struct{})}
	keyboard, screen := newPTY(t)
	demo := exec.Command("make", "-C", "../..", "demo")
	demo.Env = append(os.Environ(), "TMPDIR="+work, "NO_COLOR=1")
	demo.Stdin, demo.Stdout, demo.Stderr = screen, screen, screen
	demo.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	check(t, demo.Start())
	check(t, screen.Close())
	go func() { _, _ = io.Copy(out, keyboard) }() // until the last process has closed the screen
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()
	deadline := time.NewTimer(10 * time.Minute)
	defer deadline.Stop()
	select {
	case <-out.ready:
		started()
		quickStart(t, out.shellFile())
		repeatCommands(t, out)
		_, err = keyboard.WriteString("\x03")
		check(t, err)
		err = <-ended
	case err = <-ended:
		t.Errorf("it ended before it was ready")
	case <-deadline.C:
		_, _ = keyboard.WriteString("\x03")
		err = <-ended
		t.Errorf("it was not ready in time")
	}
	if err != nil {
		t.Errorf("it ended with %v, want exit status 0", err)
	}
	for _, want := range []string{
		"oidc:alice@example.com", "configmap/hello created", "wants you to log in at", "You are oidc:alice@example.com", "Forbidden", "You must be logged in",
		"Warning: Unauthorized: the token was not accepted", "[\"something-else\"]", "Forwarded as: oidc:alice@example.com", "authenticated: true", "username: oidc:alice@example.com", "front-proxy statusz", "front_proxy_decisions_total{outcome=\"refused\",scope=\"\"}", "\ndemo ready",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it did not print %q", want)
		}
	}
	_, shown, _ := strings.Cut(out.String(), "\n[") // make's own lines come before
	for line := range strings.Lines(shown) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > columns && !strings.Contains(line, work) {
			t.Errorf("a line is wider than %d columns: %s", columns, line)
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

// repeatCommands types what the demo printed after its prompts, and wants what it had.
func repeatCommands(t *testing.T, out *output) {
	t.Helper()
	var script strings.Builder
	fmt.Fprintf(&script, "source %q\n", out.shellFile())
	commands := 0
	for _, line := range out.lines() {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case isCommand:
			commands++
			fmt.Fprintf(&script, "%s </dev/null\nstatus=$?\n", command)
		case strings.HasPrefix(line, "  ✓ refused"):
			script.WriteString("[ $status != 0 ] || { echo It was not refused; exit 1; }\n")
		case strings.HasPrefix(line, "  ✓"):
			script.WriteString("[ $status = 0 ] || exit 1\n")
		}
		if strings.HasPrefix(line, "She has the same identity in green") {
			script.WriteString("source " + out.shellFile() + "\n") // her first machine again
		}
	}
	if commands < 10 {
		t.Fatalf("it showed %d commands, want more", commands)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	bash := exec.CommandContext(ctx, "bash", "-c", script.String())
	bash.WaitDelay = 10 * time.Second
	if output, err := bash.CombinedOutput(); err != nil {
		t.Errorf("the demo's commands do not work twice: %v\n%s\nof this script:\n%s", err, output, script.String())
	}
}

// newPTY makes a terminal: what is written to keyboard is typed, and what is read from it
// appeared on screen.
func newPTY(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	check(t, err)
	t.Cleanup(func() { _ = keyboard.Close() })
	check(t, unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetUint32(int(keyboard.Fd()), unix.TIOCGPTN)
	check(t, err)
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	check(t, err)
	return keyboard, screen
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
	o.text.Write(bytes.ReplaceAll(p, []byte("\r"), nil)) // which a terminal puts before each newline
	if !o.told && bytes.Contains(o.text.Bytes(), []byte("\ndemo ready")) {
		o.told = true
		close(o.ready)
	}
	return len(p), nil
}

func (o *output) lines() []string { return strings.Split(o.String(), "\n") }

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
