package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
)

// goroutine is a part that runs in this process.
type goroutine struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

// startGoroutine starts a part, which outlives ctx, as a process does.
func startGoroutine(ctx context.Context, name, task string) process {
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
