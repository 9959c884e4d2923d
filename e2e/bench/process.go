package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"

	"frontproxy/e2e/harness"
)

// process is a target, or a part of this program: a harness.Program, or a goroutine of ours.
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
	if b.inProcess && (name == "load" || name == "attack") {
		return startGoroutine(ctx, name, task), nil
	}
	return harness.StartProgram(name, b.log(name), b.self, name, task)
}

// goroutine is a part that runs in this process.
type goroutine struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

// startGoroutine starts a part, which outlives ctx, as a process does.
func startGoroutine(ctx context.Context, name, task string) *goroutine {
	g := &goroutine{done: make(chan struct{})}
	ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(g.done)
		g.err = run(ctx, []string{name, task}, io.Discard)
	}()
	return g
}

// PID implements process.
func (g *goroutine) PID() int { return os.Getpid() }

// Alive implements process.
func (g *goroutine) Alive() error {
	select {
	case <-g.done:
		return cmp.Or(g.err, errEnded)
	default:
		return nil
	}
}

var errEnded = errors.New("the part has ended")

// Done implements process.
func (g *goroutine) Done() <-chan struct{} { return g.done }

// Kill implements process.
func (g *goroutine) Kill() {
	g.cancel()
	<-g.done
}
