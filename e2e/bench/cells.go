package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// cell is one kind of load that all targets get.
type cell struct {
	name        string
	kind        kind
	http2, cert bool
	unsized     bool // an upload over HTTP/2 whose length is not announced
	// admits: who asks is let in, so that the floor and no proxy can be compared.
	admits bool
	// upper bounds of CPU and lower ones of throughput, as ratios, ofFloor to both floors; 0: none
	// set.
	ofIncumbent, ofFloor, throughput float64
}

// cells of requests. The bounds are the project's targets.
var cells = []cell{
	{name: "token, HTTP/1.1", kind: small, admits: true, ofIncumbent: 0.45, ofFloor: 0.95, throughput: 0.9},
	{name: "token, HTTP/2", kind: small, http2: true, admits: true, ofIncumbent: 0.45, ofFloor: 0.95, throughput: 0.9},
	{name: "client certificate, HTTP/1.1", kind: small, cert: true, admits: true, ofIncumbent: 0.5, throughput: 0.9},
	{name: "client certificate, HTTP/2", kind: small, http2: true, cert: true, admits: true, ofIncumbent: 0.5, throughput: 0.9},
	{name: "refused: forged signature", kind: forged, ofIncumbent: 0.6},
	{name: "refused: unknown issuer", kind: stranger, ofIncumbent: 0.6},
	{name: "refused: garbage", kind: garbage, ofIncumbent: 0.6},
	{name: "large download, HTTP/1.1", kind: download, admits: true, throughput: 0.9},
	{name: "large download, HTTP/2", kind: download, http2: true, admits: true, throughput: 0.9},
	{name: "busy watch, HTTP/1.1", kind: events, admits: true, throughput: 0.9},
	{name: "busy watch, HTTP/2", kind: events, http2: true, admits: true, throughput: 0.9},
	{name: "large upload, HTTP/1.1", kind: upload, admits: true, throughput: 0.9},
	{name: "large upload, HTTP/2", kind: upload, http2: true, admits: true, throughput: 0.95},
	{name: "large upload of unknown length, HTTP/2", kind: upload, http2: true, unsized: true, admits: true},
}

func (c *cell) large() bool { return c.kind == download || c.kind == upload || c.kind == events }

// takes reports whether the cell can be measured of t: those that refuse nobody take only loads
// that are admitted, and HAProxy is made for small requests with a token.
func (c *cell) takes(t target) bool {
	switch t {
	case floor, usualFloor, pooledFloor, direct:
		return c.admits
	case haproxy:
		return c.kind == small && !c.cert
	}
	return true
}

// requests measures every cell of every target, in rounds.
func (b *bench) requests(ctx context.Context) error {
	var chosen []cell
	for _, c := range cells {
		if b.wants(c.name) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	b.progress(fmt.Sprintf("requests: a kcp of %d workspaces", b.workspaces))
	w, end, err := b.world(ctx, b.workspaces, 0)
	if err != nil {
		return err
	}
	defer end()
	var all []*running
	for _, t := range b.wanted(ours, incumbent, floor, usualFloor, pooledFloor, haproxy, direct) {
		r, _, err := b.start(ctx, t, w)
		if err != nil {
			return err
		}
		defer r.stop()
		all = append(all, r)
	}
	for round := range b.rounds {
		b.progress(fmt.Sprintf("requests: round %d of %d", round+1, b.rounds))
		for _, c := range chosen {
			for i := range all { // each is the first in some rounds
				if err := b.cell(ctx, &c, all[(i+round)%len(all)], w, round); err != nil {
					return err
				}
			}
		}
	}
	return b.peaks(all)
}

// cell measures one cell of one target in one round.
func (b *bench) cell(ctx context.Context, c *cell, r *running, w *world, round int) error {
	if !c.takes(r.target) {
		return nil
	}
	t := loadTask{World: *w, URL: r.url, PID: r.pid, Kind: c.kind, HTTP2: c.http2, Certificate: c.cert,
		Workers: b.workers, Connections: 4, Warm: b.warm, Measure: b.measure, BodyMiB: b.bodyMiB, Unsized: c.unsized}
	if c.large() {
		t.Workers, t.Connections = 2, 2
		t.Measure *= 3 // only whole bodies are counted, and in a short time they are few
	}
	report, _, err := b.load(ctx, t)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.name, r.target, err)
	}
	add := func(metric, unit string, value float64) {
		b.results.add(sample{Measure: c.name, Metric: metric, Unit: unit, Target: r.target, Round: round, Value: value})
	}
	n := float64(report.Requests)
	if c.kind == events {
		n *= eventsPerWatch
		add(metricThroughput, "events/s", n/report.Seconds)
		if r.pid != 0 {
			add(metricCPU, "µs/event", 1e6*report.CPU/n)
		}
		return nil
	}
	if c.large() {
		mib := float64(report.Bytes) / (1 << 20)
		add(metricThroughput, "MiB/s", mib/report.Seconds)
		if r.pid != 0 {
			add(metricCPU, "ms/GiB", 1024e3*report.CPU/mib)
		}
		return nil
	}
	if r.pid != 0 {
		add(metricCPU, "µs/request", 1e6*report.CPU/n)
	}
	add(metricThroughput, "requests/s", n/report.Seconds)
	add("p50", "ms", 1e3*report.P50)
	add(metricP99, "ms", 1e3*report.P99)
	add("p99.9", "ms", 1e3*report.P999)
	return nil
}

// peaks notes how much memory all that took at most.
func (b *bench) peaks(all []*running) error {
	for _, r := range all {
		if r.pid == 0 {
			continue
		}
		m, err := memoryOf(r.pid)
		if err != nil {
			return err
		}
		b.results.add(sample{Measure: "all requests", Metric: metricPeak, Unit: "MB", Target: r.target, Value: float64(m.peak) / 1e6})
	}
	return nil
}

// resting returns a process' memory after it has been left alone for a while.
func (b *bench) resting(ctx context.Context, pid int) (memory, error) {
	select {
	case <-ctx.Done():
		return memory{}, ctx.Err()
	case <-time.After(b.settle):
	}
	return memoryOf(pid)
}

// watches measures what an idle watch keeps resident.
func (b *bench) watches(ctx context.Context) error {
	const name = "idle watch"
	if b.plan.watches == 0 || !b.wants(name) {
		return nil
	}
	w, end, err := b.world(ctx, b.workspaces, 0)
	if err != nil {
		return err
	}
	defer end()
	for _, http2 := range []bool{true, false} {
		for _, t := range b.wanted(ours, incumbent, floor) {
			b.progress(fmt.Sprintf("%d idle watches, HTTP/2 %t: %s", b.plan.watches, http2, t))
			if err := b.watching(ctx, name, t, w, http2); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) watching(ctx context.Context, name string, t target, w *world, http2 bool) error {
	r, _, err := b.start(ctx, t, w)
	if err != nil {
		return err
	}
	defer r.stop()
	before, err := b.resting(ctx, r.pid)
	if err != nil {
		return err
	}
	_, end, err := b.load(ctx, loadTask{World: *w, URL: r.url, Kind: watch, HTTP2: http2, Connections: b.watchConns, Hold: b.plan.watches})
	if err != nil {
		return fmt.Errorf("%s, %s: %w", name, t, err)
	}
	defer end()
	after, err := b.resting(ctx, r.pid)
	if err != nil {
		return err
	}
	measure := name + ", HTTP/1.1"
	if http2 {
		measure = name + ", HTTP/2"
	}
	b.results.add(sample{Measure: measure, Metric: metricResident, Unit: "KB", Target: t, Value: float64(after.resident-before.resident) / 1e3 / float64(b.plan.watches)})
	return nil
}

// configurations measures what authentication configurations of one issuer keep
// resident.
func (b *bench) configurations(ctx context.Context) error {
	const name = "configuration of one issuer"
	if b.plan.configurations == 0 || !b.wants(name) {
		return nil
	}
	resident := map[target][2]float64{}
	for i, n := range []int{0, b.plan.configurations} {
		w, end, err := b.world(ctx, b.workspaces, n)
		if err != nil {
			return err
		}
		for _, t := range b.wanted(ours, incumbent) {
			b.progress(fmt.Sprintf("%d further configurations: %s", n, t))
			_, m, err := b.fresh(ctx, t, w)
			if err != nil {
				end()
				return err
			}
			both := resident[t]
			both[i] = float64(m.resident)
			resident[t] = both
		}
		end()
	}
	for t, both := range resident {
		b.results.add(sample{Measure: name, Metric: metricResident, Unit: "KB", Target: t, Value: (both[1] - both[0]) / 1e3 / float64(b.plan.configurations)})
	}
	return nil
}

// fresh starts a target, lets it rest, and ends it.
func (b *bench) fresh(ctx context.Context, t target, w *world) (time.Duration, memory, error) {
	r, took, err := b.start(ctx, t, w)
	if err != nil {
		return 0, memory{}, err
	}
	defer r.stop()
	m, err := b.resting(ctx, r.pid)
	return took, m, err
}

// installations measures starts and memory before a small and a large kcp.
func (b *bench) installations(ctx context.Context) error {
	for _, n := range []int{b.workspaces, b.many} {
		name := fmt.Sprintf("%d workspaces", n)
		if n == 0 || !b.wants(name) {
			continue
		}
		w, end, err := b.world(ctx, n, 0)
		if err != nil {
			return err
		}
		for _, t := range b.wanted(ours, incumbent) {
			b.progress(name + ": " + string(t))
			if err := b.installation(ctx, name, t, w); err != nil {
				end()
				return err
			}
		}
		end()
	}
	return nil
}

func (b *bench) installation(ctx context.Context, name string, t target, w *world) error {
	r, took, err := b.start(ctx, t, w)
	if err != nil {
		return err
	}
	defer r.stop()
	m, err := b.resting(ctx, r.pid)
	if err != nil {
		return err
	}
	add := func(metric, unit string, value float64) {
		b.results.add(sample{Measure: name, Metric: metric, Unit: unit, Target: t, Value: value})
	}
	add(metricStart, "s", took.Seconds())
	add(metricResident, "MB", float64(m.resident)/1e6)
	add(metricPeak, "MB", float64(m.peak)/1e6)
	if w.Workspaces == b.many {
		cpu, err := b.changing(ctx, r.pid, w)
		if err != nil {
			return err
		}
		add(metricEvents, "ms/s", 1e3*cpu)
	}
	return nil
}

// changing returns the share of a CPU that a process uses while its kcp
// changes.
func (b *bench) changing(ctx context.Context, pid int, w *world) (float64, error) {
	pool, err := roots(w.ServingCA)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.events)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+eventsPath, nil)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsFor(pool)}}
	defer client.CloseIdleConnections()
	begin, cpu := time.Now(), cpuTime(pid)
	res, err := client.Do(ask) // until the time is over
	if err == nil {
		return 0, fmt.Errorf("the changes ended early: %w", res.Body.Close())
	}
	return (cpuTime(pid) - cpu).Seconds() / time.Since(begin).Seconds(), nil
}
