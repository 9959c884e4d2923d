// Command front-proxy is an authenticating reverse proxy for kcp; see
// README.md.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/featuregate"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
)

// version is stamped by the Makefile.
var version = "v0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	klog.Flush()
	if err != nil {
		fmt.Fprintf(os.Stderr, "front-proxy: %v\n", err)
		os.Exit(1)
	}
}

const usage = `front-proxy is one address for all of kcp: it finds the workspace a request is
for, proves who is asking, and passes the request to the shard that holds it.
It takes the arguments of kcp-front-proxy.

Usage:
  front-proxy --mapping-file=… --root-kubeconfig=… --shards-kubeconfig=… [flags]
`

// run is the program: it returns when ctx has ended and everything is drained.
func run(ctx context.Context, args []string, stdout io.Writer) error {
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
		return fmt.Errorf("the flags do not fit together:\n%w", err)
	}
	p, err := assemble(o, klog.Background()) //nolint:contextcheck // it runs nothing
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// loggingGates are the defaults: what the logging flags need of feature gates.
func loggingGates() featuregate.FeatureGate {
	g := featuregate.NewFeatureGate()
	if err := logsapi.AddFeatureGates(g); err != nil {
		panic(err) // a fixed list added to an empty one
	}
	return g
}
