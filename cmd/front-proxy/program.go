package main

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"frontproxy/authn/issuer"
	"frontproxy/index"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/zpages"
)

// program has all running parts of the program.
type program struct {
	log     klog.Logger
	metrics *metrics.Metrics
	sources metrics.Sources
	details zpages.StatusSources // the content of /statusz besides sources; the parts add to it
	serve   func(context.Context) error
	// reloads make the followed files be checked now; SIGHUP calls them.
	reloads []func()
	// parts are the parts that serving depends on; they run until it has drained.
	parts []func(context.Context) error
}

// newProgram returns a program without parts; they add to its sources and details.
func newProgram(log klog.Logger, idx *index.Index) *program {
	return &program{
		log: log, metrics: metrics.New(version),
		sources: metrics.Sources{Counts: idx.Counts, Issuers: map[string]func() map[issuer.State]int{}, Reloads: map[string]func() error{}},
		details: zpages.StatusSources{Issuers: map[string]func() []issuer.Status{}},
	}
}

func (p *program) add(run func(context.Context) error) { p.parts = append(p.parts, run) }

// run serves until ctx has ended and requests are drained, or until a part fails,
// which ends everything.
func (p *program) run(ctx context.Context) error {
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, parts := errgroup.WithContext(parts)
	for _, run := range p.parts {
		g.Go(func() error { return run(parts) })
	}
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(parts, cancel)
	err := p.serve(serving)
	stop()
	if partErr := g.Wait(); partErr != nil && !errors.Is(partErr, context.Canceled) {
		err = errors.Join(err, partErr)
	}
	p.log.Info("stopped")
	return err
}
