package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"frontproxy/e2e/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the benchmark, or the part of it that the first argument names.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "world":
			return part(ctx, args[1:], runWorld)
		case "floor":
			return part(ctx, args[1:], runFloor)
		case "load":
			return part(ctx, args[1:], runLoad)
		case "attack":
			return part(ctx, args[1:], runAttack)
		}
	}
	p, err := parsePlan(args)
	if err != nil {
		return err
	}
	if !p.shared {
		if _, err := fmt.Fprintln(out, "waiting for other benchmarks and end-to-end tests on this machine to end"); err != nil {
			return err
		}
		release, err := harness.Exclusive()
		if err != nil {
			return err
		}
		defer release()
	}
	return p.run(ctx, out)
}

// part runs one that is given its task as JSON in its only argument. What it
// reports goes into the file that the task names.
func part[T any](ctx context.Context, args []string, do func(context.Context, T) error) error {
	if len(args) != 1 {
		return errors.New("a part takes one argument, its task; leave the part's name out to run the benchmark")
	}
	var task T
	if err := json.Unmarshal([]byte(args[0]), &task); err != nil {
		return fmt.Errorf("the task: %w", err)
	}
	return do(ctx, task)
}

// plan says what is measured, and how long.
type plan struct {
	rounds          int
	attackRounds    int
	warm, measure   time.Duration
	workers         int
	workspaces      int // of the world that requests go to
	many            int // of the world that is large
	configurations  int
	watches         int
	watchConns      int
	settle          time.Duration
	loops           time.Duration
	events          time.Duration
	bodyMiB         int
	attack          int // requests of one
	rest            time.Duration
	only, targets   []string
	dir, frontProxy string
	before          string // an earlier build to compare with; empty: none
	shared          bool
	docs            string // the page that gets the table; empty: none
	// startLoad starts a load or an attack; nil: each is a process of this program.
	startLoad func(ctx context.Context, part, task string) process
}

func parsePlan(args []string) (*plan, error) {
	p := &plan{}
	var only, targets string
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&p.rounds, "rounds", 15, "how often every cell is measured")
	f.IntVar(&p.attackRounds, "attack-rounds", 5, "how often the neighbours of attacks are measured")
	f.IntVar(&p.workers, "workers", 16, "how many clients of small requests wait for their answers at once")
	f.DurationVar(&p.measure, "measure", 300*time.Millisecond, "how long a cell is measured in a round")
	f.DurationVar(&p.warm, "warm", 150*time.Millisecond, "how long load runs before that")
	f.IntVar(&p.workspaces, "workspaces", 1000, "workspaces of the installation that requests go to")
	f.IntVar(&p.many, "many", 100_000, "workspaces of the large installation; 0: leave it out")
	f.IntVar(&p.configurations, "configurations", 1000, "authentication configurations of one issuer; 0: leave them out")
	f.IntVar(&p.watches, "watches", 4000, "idle watches; 0: leave them out")
	f.IntVar(&p.watchConns, "watch-connections", 50, "connections of the idle watches on HTTP/2")
	f.IntVar(&p.bodyMiB, "body", 16, "MiB of a large body")
	f.IntVar(&p.attack, "attack", 4100, "requests of an attack on a neighbour; 0: leave them out")
	f.DurationVar(&p.rest, "rest", 2*time.Second, "how long an attack that waits must have used hardly any CPU until its neighbour is measured")
	f.DurationVar(&p.loops, "loops", 10*time.Second, "how long an attack that loops runs, unless it is refused before, until its neighbour is measured")
	f.DurationVar(&p.settle, "settle", 6*time.Second, "how long a process rests before its memory is read")
	f.DurationVar(&p.events, "events", 20*time.Second, "how long 50 events a second are sent to the large installation")
	f.StringVar(&only, "only", "", "measure the cells whose names contain one of these, with commas between")
	f.StringVar(&targets, "targets", "", "measure these targets only, with commas between")
	f.StringVar(&p.dir, "out", "bin/bench-results", "the directory that gets results.md, results.csv and results.svg")
	f.StringVar(&p.docs, "docs", "", "a page whose generated part becomes the table")
	f.StringVar(&p.frontProxy, "front-proxy", "", "another front-proxy binary than bin/front-proxy")
	f.StringVar(&p.before, "before", "", "an earlier build of front-proxy to compare with")
	f.BoolVar(&p.shared, "shared", false, "don't wait for end-to-end tests on this machine to end")
	f.BoolVar(&quick, "quick", false, "three minutes, whatever the other flags say: short rounds, a smaller large installation, fewer watches, no attacks")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if quick {
		p.attack = 0
		p.rounds = 5
		p.many, p.configurations, p.watches, p.settle, p.events = min(p.many, 10_000), min(p.configurations, 200), min(p.watches, 1000), 2*time.Second, 4*time.Second
	}
	p.only, p.targets = list(only), list(targets)
	return p, nil
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// wants reports whether a cell is to be measured.
func (p *plan) wants(cell string) bool {
	for _, o := range p.only {
		if strings.Contains(cell, o) {
			return true
		}
	}
	return len(p.only) == 0
}

// run measures everything and writes the report.
func (p *plan) run(ctx context.Context, out io.Writer) error {
	binaries, err := harness.FindBinaries(harness.KCP031)
	if err != nil {
		return err
	}
	if p.frontProxy != "" {
		if binaries.FrontProxy, err = filepath.Abs(p.frontProxy); err != nil {
			return err
		}
	}
	work, err := os.MkdirTemp("", "front-proxy-bench-")
	if err != nil {
		return fmt.Errorf("make a work directory: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the benchmark's own binary: %w", err)
	}
	begin := time.Now()
	b := &bench{plan: p, self: self, work: work, binaries: binaries, haproxyPath: findHAProxy(), results: &results{},
		progress: func(s string) { _, _ = fmt.Fprintf(out, "[%4.0fs] %s\n", time.Since(begin).Seconds(), s) }}
	err = errors.Join(b.requests(ctx), b.neighbours(ctx), b.watches(ctx), b.configurations(ctx), b.installations(ctx))
	if err != nil {
		return fmt.Errorf("%w\nthe logs are in %s", err, work)
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := b.results.write(p.dir); err != nil {
		return err
	}
	if p.docs != "" {
		if err := writeDocs(p.docs, b.results, begin); err != nil {
			return err
		}
	}
	_, err = io.WriteString(out, "\n"+b.results.table()+"\nwritten to "+p.dir+"\n")
	return err
}
