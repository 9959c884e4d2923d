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
	"runtime"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/featuregate"
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

// Error implements error.
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

const usage = `front-proxy gives all shards of kcp one address: it finds the workspace of a request,
authenticates the caller, and forwards the request to the right shard.
It takes the arguments of kcp-front-proxy.

Usage:
  front-proxy --mapping-file=… --root-kubeconfig=… --shards-kubeconfig=… [flags]
  front-proxy check [the same flags]   reports what is wrong with the flags and files
  front-proxy explain <id> [flags]     explains why a running proxy refused a request
  front-proxy shadow [flags]           compares the responses of two proxies

Each subcommand has its own --help.
`

// subcommand returns a subcommand by its name. Without one the program serves, as
// kcp-front-proxy does.
func subcommand(name string) func(context.Context, []string, io.Writer) error {
	switch name {
	case "check":
		return runCheck
	case "explain":
		return runExplain
	case "shadow":
		return runShadow
	}
	return nil
}

// run runs the program. It returns when ctx has ended and everything is drained.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 {
		if sub := subcommand(args[0]); sub != nil {
			return sub(ctx, args[1:], stdout)
		}
	}
	o, sections, err := parse(args)
	if err != nil {
		return err
	}
	switch {
	case o.help:
		_, _ = fmt.Fprint(stdout, usage)
		cliflag.PrintSections(stdout, *sections, 0)
		return nil
	case o.version:
		_, err := fmt.Fprintf(stdout, "front-proxy version %s %s\n", version, runtime.Version())
		return err
	}
	if err := logsapi.ValidateAndApply(o.logging, loggingGates()); err != nil {
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

// loggingGates returns the default feature gates for the logging flags.
func loggingGates() featuregate.FeatureGate {
	g := featuregate.NewFeatureGate()
	if err := logsapi.AddFeatureGates(g); err != nil {
		panic(err) // a fixed list added to an empty one
	}
	return g
}
