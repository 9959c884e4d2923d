package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run is the demo from start to end. A cancelled ctx ends it without error.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	once := flags.Bool("once", false, "exit after showing everything")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go endWithParent(ctx, cancel)

	binaries, err := harness.FindBinaries("")
	if err != nil {
		return err
	}
	tools, err := harness.FindLoginTools()
	if err != nil {
		return err
	}
	issuer, err := issuertest.New(issuertest.Options{})
	if err != nil {
		return err
	}
	defer issuer.Close()
	t := newTerminal(out)
	go t.count(ctx)
	env, err := harness.Start(ctx, harness.Config{Binaries: binaries, Shards: []string{"shard-1"}, Proxy: harness.ProxyOptions{LoginDiscovery: true, Args: []string{"--feature-gates=WorkspaceTokenReviews=true"}}, Progress: t.progress})
	if ctx.Err() != nil {
		return nil // ended before it was up; Start has cleaned up
	}
	if err != nil {
		return err
	}
	err = play(ctx, env, issuer, tools, t, *once)
	t.progress("stopping")
	if ctx.Err() != nil {
		err = nil // told to end: what was going on then is no failure
	}
	failed := err != nil
	if failed {
		t.say("keeping the work directory %s; see logs/ in it\n", env.Dir)
	}
	err = errors.Join(err, env.Stop(failed))
	t.say("")
	return err
}

// play sets the scene, shows it, and waits for the end unless once is set.
func play(ctx context.Context, env *harness.Environment, issuer *issuertest.Issuer, tools harness.LoginTools, t *terminal, once bool) error {
	company, err := startCompany(ctx, env, tools, t.progress)
	if err != nil {
		return err
	}
	defer company.dex.Stop()
	s, err := newScene(ctx, env, issuer, company, t.progress)
	if err != nil {
		return err
	}
	if err := s.show(ctx, t); err != nil {
		return err
	}
	s.explain(t)
	if once {
		return nil
	}
	<-ctx.Done()
	return nil
}

// endWithParent cancels when the process that started us is gone: a `go run`
// or make that is killed does not pass the signal on.
func endWithParent(ctx context.Context, cancel context.CancelFunc) {
	parent := os.Getppid()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if os.Getppid() != parent {
				cancel()
				return
			}
		}
	}
}
