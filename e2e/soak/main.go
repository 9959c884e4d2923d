package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"frontproxy/e2e/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// plan says how long and how hard.
type plan struct {
	duration time.Duration // from the load's start to its end
	pace     time.Duration // from one fault to the next, when it takes no longer
	settle   time.Duration // how long the proxy rests before an idle reading
	rate     int           // requests a second
	streams  int           // of each user, in each workspace
	faults   []string      // parts of names; empty: all
	docs     string        // the page that gets the table; empty: none
}

func parsePlan(args []string) (*plan, error) {
	p := &plan{}
	var faults string
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.DurationVar(&p.duration, "duration", time.Hour, "how long the load lasts, idle readings included; a fault under way is finished")
	f.DurationVar(&p.pace, "pace", 55*time.Second, "from one fault to the next, when it takes no longer")
	f.DurationVar(&p.settle, "settle", 110*time.Second, "how long the proxy is left alone before an idle reading; idle connections last 90s")
	f.IntVar(&p.rate, "rate", 30, "requests a second")
	f.IntVar(&p.streams, "streams", 10, "open watches of each of five users in each of two workspaces")
	f.StringVar(&faults, "faults", "", "only faults whose names contain one of these, with commas between")
	f.StringVar(&p.docs, "docs", "", "a page whose generated part becomes the table")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 || p.rate < 1 || p.duration <= 0 {
		return nil, fmt.Errorf("%q: rate and duration are to be positive, and there are no other arguments", args)
	}
	if faults != "" {
		p.faults = strings.Split(faults, ",")
	}
	return p, nil
}

// wants reports whether a fault is to be made.
func (p *plan) wants(fault string) bool {
	for _, part := range p.faults {
		if strings.Contains(fault, part) {
			return true
		}
	}
	return len(p.faults) == 0
}

// run is the soak from start to end. It takes no lock: it may run beside tests.
func run(ctx context.Context, args []string, out io.Writer) error {
	p, err := parsePlan(args)
	if err != nil {
		return err
	}
	binaries, err := harness.FindBinaries("")
	if err != nil {
		return err
	}
	begin := time.Now()
	progress := func(message string) { _, _ = fmt.Fprintf(out, "[%4.0fs] %s\n", time.Since(begin).Seconds(), message) }
	env, err := harness.Start(ctx, harness.Config{Binaries: binaries, Shards: []string{shardOne}, Progress: progress})
	if err != nil {
		return err
	}
	report, err := soakIn(ctx, env, p, progress)
	progress("stopping")
	if err == nil {
		err = show(out, p, report)
	}
	failed := err != nil && ctx.Err() == nil
	if failed {
		progress("the work directory " + env.Dir + " is kept, see logs/ in it")
	}
	return errors.Join(err, env.Stop(failed))
}

// show prints what came of it and writes it into the page.
func show(out io.Writer, p *plan, r *report) error {
	text := r.table()
	_, _ = io.WriteString(out, "\n"+text)
	var err error
	if p.docs != "" {
		err = harness.WriteGenerated(p.docs, "make soak DOCS=1", text)
	}
	if len(r.failures) > 0 {
		err = errors.Join(err, fmt.Errorf("not as it should be:\n%s", strings.Join(r.failures, "\n")))
	}
	return err
}
