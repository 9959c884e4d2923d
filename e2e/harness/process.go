package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Program is a process that this harness started; its output goes to a log file.
type Program struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// StartProgram runs the program at path with our environment. Its output is appended to the file
// log. If we die first, the kernel kills it.
func StartProgram(name, log, path string, args ...string) (*Program, error) {
	return startProcess(name, log, nil, path, args...)
}

// startProcess runs a program in a process group of its own, so that a
// terminal's Ctrl-C reaches only us and Stop decides the order; should we die
// first, the kernel kills it. The log is appended to.
func startProcess(name, log string, env []string, path string, args ...string) (*Program, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // in our work directory
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = out.Close() }() // the child has its own descriptor
	cmd := exec.Command(path, args...) //nolint:gosec // runs what the caller configured
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Program{name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// PID is its process id.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Done is closed when it has ended.
func (p *Program) Done() <-chan struct{} { return p.done }

// Alive returns nil while it runs, else an error with the end of its log.
func (p *Program) Alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%w); the end of %s:\n%s", p.name, cause(p.err), p.log, tail(p.log, 2000))
	default:
		return nil
	}
}

func cause(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Stop asks it to end, and kills its process group if it has not ended after stopGrace.
// It reports whether it ended by itself, with exit status 0. Stopping what has
// ended, or nil, is fine.
func (p *Program) Stop() bool {
	if p == nil {
		return true
	}
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err == nil
	case <-timer.C:
		p.Kill()
		return false
	}
}

// Kill ends it at once.
func (p *Program) Kill() {
	if p == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *Program) signal(s syscall.Signal) {
	select {
	case <-p.done: // its number may be another's by now
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s) // it may just have ended
	}
}

// stopped returns nil once SIGSTOP has stopped every thread: they go on for
// some milliseconds after the signal was sent. See proc_pid_stat(5).
func (p *Program) stopped() error {
	if err := p.Alive(); err != nil {
		return permanentError{err}
	}
	states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	for _, path := range states {
		stat, err := os.ReadFile(path) //nolint:gosec // the kernel's
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		} else if err != nil {
			return err
		}
		// The name before the state is in brackets and may hold anything.
		if rest := stat[bytes.LastIndexByte(stat, ')')+1:]; !bytes.HasPrefix(rest, []byte(" T ")) {
			return fmt.Errorf("%s is not stopped: %q", path, stat)
		}
	}
	return nil
}

// tail is the last n bytes of a file, or why there are none.
func tail(path string, n int) []byte {
	content, err := os.ReadFile(path) //nolint:gosec // our own log
	if err != nil {
		return []byte(err.Error())
	}
	content = bytes.TrimSpace(content)
	return content[max(0, len(content)-n):]
}
