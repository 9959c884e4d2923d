package main

import (
	"context"

	"frontproxy/e2e/harness"
)

// process is a target, or a part of this program.
type process interface {
	PID() int
	// Alive returns nil while it runs.
	Alive() error
	// Done is closed when it has ended.
	Done() <-chan struct{}
	// Kill ends it at once.
	Kill()
}

// startPart starts the part of that name with its task.
func (b *bench) startPart(ctx context.Context, name, task string) (process, error) {
	if b.startLoad != nil && (name == "load" || name == "attack") {
		return b.startLoad(ctx, name, task), nil
	}
	return harness.StartProgram(name, b.log(name), b.self, name, task)
}
