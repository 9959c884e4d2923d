package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// loadTask is what one process of load does.
type loadTask struct {
	Report string
	World  world
	// URL is the target's; PID its process, whose CPU is read.
	URL string
	PID int
	// Kind is what is asked; HTTP2 and Certificate how.
	Kind        kind
	HTTP2       bool
	Certificate bool
	// Workers ask one after the other, each by itself; on HTTP/2 they share
	// Connections.
	Workers, Connections int
	Warm, Measure        time.Duration
	BodyMiB              int
	// Unsized: over HTTP/2, the length of a body is not announced.
	Unsized bool
	// Hold: open this many watches, report, and keep them.
	Hold int
	// Tolerant: answers that are not wanted, and none, are counted and end nothing.
	Tolerant bool
}

// loadReport is what came of it.
type loadReport struct {
	Requests int
	Seconds  float64
	// CPU of the target and of the load itself, in seconds.
	CPU, Own float64
	// Quantiles of the latency, in seconds.
	P50, P99, P999 float64
	Bytes          int64
	// Refused are those that a tolerant load did not get.
	Refused int
}

// runLoad does the task and writes its report; with Hold it then waits for ctx.
func runLoad(ctx context.Context, t loadTask) error {
	l, err := newLoad(&t)
	if err != nil {
		return err
	}
	defer l.close()
	if t.Hold > 0 {
		if err := l.hold(ctx); err != nil {
			return err
		}
		if err := writeReport(t.Report, loadReport{Requests: t.Hold}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	report, err := l.measure(ctx)
	if err != nil {
		return err
	}
	return writeReport(t.Report, report)
}

// load is workers and their connections.
type load struct {
	task    *loadTask
	config  *tls.Config
	address string
	asker   *asker

	h2    []*h2Conn
	phase atomic.Int32 // warming, measuring, over
	// counted is how many requests were answered while measuring.
	counted atomic.Int64
	mu      sync.Mutex // guards closers
	closer  []func()
}

const (
	warming = iota
	measuring
	over
)

func newLoad(t *loadTask) (*load, error) {
	target, err := url.Parse(t.URL)
	if err != nil {
		return nil, err
	}
	pool, err := roots(t.World.ServingCA)
	if err != nil {
		return nil, err
	}
	l := &load{task: t, address: target.Host, asker: newAsker(t), config: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}}
	if t.Certificate {
		pair, err := tls.LoadX509KeyPair(t.World.Client.Cert, t.World.Client.Key)
		if err != nil {
			return nil, err
		}
		l.config.Certificates = []tls.Certificate{pair}
	}
	if !t.HTTP2 {
		l.config.NextProtos = []string{"http/1.1"}
		return l, nil
	}
	l.config.NextProtos = []string{"h2"}
	for range t.Connections {
		c, err := dialH2(l.address, l.config)
		if err != nil {
			return nil, err
		}
		l.h2 = append(l.h2, c)
		l.closer = append(l.closer, c.close)
	}
	return l, nil
}

func (l *load) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.closer {
		c()
	}
}

// client is a connection as one worker uses it.
type client interface {
	// do sends the request and reads the answer to its end, unless it is a
	// watch, of which it reads the beginning.
	do(*request) (answer, error)
}

type answer struct {
	code  int
	bytes int64
}

// client returns worker n's.
func (l *load) client(n int) (client, error) {
	if l.task.HTTP2 {
		return l.h2[n%len(l.h2)], nil
	}
	c, err := dialH1(l.address, l.config)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closer = append(l.closer, c.close)
	return c, nil
}

// work is what one worker did while it counted.
type work struct {
	latencies []time.Duration
	bytes     int64
	refused   int
	err       error
}

// measure has all workers at work, and counts between two moments.
func (l *load) measure(ctx context.Context) (*loadReport, error) {
	t := l.task
	done := make([]work, t.Workers)
	var all sync.WaitGroup
	failed := make(chan struct{}, t.Workers)
	for n := range t.Workers {
		all.Go(func() {
			if done[n].err = l.work(n, &done[n]); done[n].err != nil {
				failed <- struct{}{}
			}
		})
	}
	wait := func(d time.Duration) bool {
		select {
		case <-ctx.Done():
		case <-failed:
		case <-time.After(d):
			return true
		}
		return false
	}
	report := &loadReport{}
	if wait(t.Warm) {
		var own, cpu time.Duration
		begin := time.Now()
		l.phase.Store(measuring)
		own, cpu = cpuTime(os.Getpid()), cpuTime(t.PID)
		for more := wait(t.Measure); more && l.counted.Load() == 0; more = wait(10 * time.Millisecond) { //nolint:revive // a slow machine
		}
		report.CPU, report.Own = (cpuTime(t.PID) - cpu).Seconds(), (cpuTime(os.Getpid()) - own).Seconds()
		report.Seconds = time.Since(begin).Seconds()
	}
	l.phase.Store(over)
	all.Wait()
	return report, report.add(done)
}

func (r *loadReport) add(done []work) error {
	var all []time.Duration
	var errs []error
	for _, w := range done {
		all = append(all, w.latencies...)
		r.Bytes += w.bytes
		r.Refused += w.refused
		errs = append(errs, w.err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("no request was answered while it was counted: measure for longer")
	}
	slices.Sort(all)
	at := func(q float64) float64 { return all[min(len(all)-1, int(q*float64(len(all))))].Seconds() }
	r.Requests, r.P50, r.P99, r.P999 = len(all), at(0.5), at(0.99), at(0.999)
	return nil
}

// work asks until it is over.
func (l *load) work(n int, w *work) error {
	c, err := l.client(n)
	if err != nil {
		return err
	}
	r := l.asker.request()
	for i := n * 7919; l.phase.Load() != over; i++ {
		l.asker.next(r, i)
		begin := time.Now()
		a, err := c.do(r)
		if l.task.Tolerant && (err != nil || a.code != r.want) {
			if l.phase.Load() == measuring {
				w.refused++
			}
			if err == nil {
				continue
			}
			if c, err = l.client(n); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("worker %d: %w", n, err)
		}
		if a.code != r.want {
			return fmt.Errorf("worker %d: %s answers %d, want %d", n, r.path, a.code, r.want)
		}
		if l.phase.Load() == measuring {
			l.counted.Add(1)
			w.latencies = append(w.latencies, time.Since(begin))
			w.bytes += a.bytes + int64(r.body)
		}
	}
	return nil
}

// hold opens the watches.
func (l *load) hold(ctx context.Context) error {
	for i := range l.task.Hold {
		c, err := l.client(i)
		if err != nil {
			return err
		}
		r := l.asker.request()
		l.asker.next(r, i)
		a, err := c.do(r)
		if err != nil || a.code != r.want {
			return fmt.Errorf("watch %d: answer %d: %w", i, a.code, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// writeReport writes v where the parent looks for it, whole or not at all.
func writeReport(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
