package harness

// Program is a process that does not belong to an Environment: of benchmarks, and of
// tests that start their own.
type Program struct{ process *process }

// StartProgram runs path; its output is appended to the file log. Should we
// die first, the kernel kills it.
func StartProgram(name, log, path string, args ...string) (*Program, error) {
	p, err := startProcess(name, log, nil, path, args...)
	if err != nil {
		return nil, err
	}
	return &Program{p}, nil
}

// PID is its process id.
func (p *Program) PID() int { return p.process.cmd.Process.Pid }

// Alive returns nil while it runs, else an error that has the end of its log.
func (p *Program) Alive() error { return p.process.alive() }

// Done is closed when it has ended.
func (p *Program) Done() <-chan struct{} { return p.process.done }

// Stop ends it with SIGTERM, and by force when it takes long.
func (p *Program) Stop() { p.process.stop(stopGrace) }

// Kill ends it at once.
func (p *Program) Kill() { p.process.kill() }
