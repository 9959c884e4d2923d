// Command front-proxy is an authenticating reverse proxy for kcp; see
// README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
)

// version is set by the Makefile.
var version = "v0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	klog.Flush()
	os.Exit(exitCode(err, os.Stderr))
}

// exitError ends a subcommand with its own exit status. Without text the subcommand
// has already printed everything.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// exitCode prints an error and returns the program's exit status.
func exitCode(err error, stderr io.Writer) int {
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.text != "" {
			_, _ = fmt.Fprintf(stderr, "front-proxy: %s\n", exit.text)
		}
		return exit.code
	}
	_, _ = fmt.Fprintf(stderr, "front-proxy: %v\n", err)
	return 1
}

// run runs the program. When it serves, it returns when ctx has ended and everything is drained.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	c := newCommand(stdout)                //nolint:contextcheck // its RunE gets ctx by ExecuteContext
	c.SetArgs(append([]string{}, args...)) // nil would mean the process' own
	return c.ExecuteContext(ctx)
}

// serve runs the proxy until ctx has ended and everything is drained.
func serve(ctx context.Context, o *options) error {
	if err := logsapi.ValidateAndApply(o.logging, nil); err != nil { // nil: logging's gates have their defaults
		return fmt.Errorf("logging flags: %w", err)
	}
	if err := o.complete(); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return fmt.Errorf("these flags cannot be used:\n%w", err)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // by default it ends the process
	defer signal.Stop(hangups)
	followMemoryLimit(ctx, memlimit.FromCgroup, klog.Background())
	p, err := assemble(o, klog.Background()) //nolint:contextcheck // it runs nothing
	if err != nil {
		return err
	}
	p.add(func(ctx context.Context) error { return p.reloadOn(ctx, hangups) })
	return p.run(ctx)
}
