package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"frontproxy/e2e/harness"
)

// soakIn makes the faults in turn until the time is over.
func soakIn(ctx context.Context, env *harness.Environment, p *plan, progress func(string)) (*report, error) {
	s, err := newSoak(ctx, env, p, progress)
	defer s.close()
	if err != nil {
		return nil, err
	}
	r := newReport(p, env.Binaries().Version)
	var chosen []fault
	for _, f := range s.faults() {
		if p.wants(f.name) {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no fault has such a name")
	}
	begin := time.Now()
	first, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	s.load.under(r.row("at the start, nothing"))
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	for n := 0; n == 0 || time.Since(begin) < p.duration-s.settle; n++ {
		if n == len(chosen) { // warm
			if r.warm, err = s.idle(ctx, "warm"); err != nil {
				return nil, err
			}
			r.warmAfter, r.readings = time.Since(begin), nil
			if err := s.begin(ctx); err != nil {
				return nil, err
			}
		}
		if err := s.turn(ctx, r, &chosen[n%len(chosen)]); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			r.failures = append(r.failures, err.Error()) // what came of the rest is told, too
			break
		}
	}
	if r.end, err = s.idle(ctx, "end"); err != nil {
		return nil, err
	}
	r.took = time.Since(begin)
	return r, s.judge(r, first)
}

// begin starts the load and the watches.
func (s *soak) begin(ctx context.Context) error {
	s.load.start(ctx)
	s.streams.start(ctx)
	return s.beat(ctx)
}

// turn makes one fault, reads what the proxy holds, and lets time pass.
func (s *soak) turn(ctx context.Context, r *report, f *fault) error {
	begin := time.Now()
	s.load.under(r.row(f.name))
	if err := s.wreak(ctx, f); err != nil {
		return err
	}
	took := time.Since(begin)
	if err := pause(ctx, max(2*time.Second, s.pace-took)); err != nil {
		return err
	}
	if err := s.proxy.Alive(); err != nil {
		return err
	}
	now, err := s.read(ctx)
	if err != nil {
		return err
	}
	r.readings = append(r.readings, now)
	total, _ := s.load.sum()
	s.progress(fmt.Sprintf("%s: well again after %s; %d requests so far, %d lost; %s", f.name, took.Round(time.Second), total.asked, total.lost, now))
	return nil
}

// judge notes what was not as it should be.
func (s *soak) judge(r *report, first reading) error {
	r.total, r.kinds = s.load.sum()
	r.opened, r.ended = s.streams.opened, s.streams.expected
	r.failures = append(r.failures, s.load.lost...)
	r.failures = append(r.failures, s.streams.others...)
	r.failures = append(r.failures, s.load.odd...)
	if r.warm.started != 0 {
		r.failures = append(r.failures, grown(r.warm, r.end)...)
		r.failures = append(r.failures, trend(r.readings)...)
	}
	if r.end.panics > 0 {
		r.failures = append(r.failures, fmt.Sprintf("%v panics", r.end.panics))
	}
	if first.started != r.end.started {
		r.failures = append(r.failures, "the proxy was started again")
	}
	leaks, err := s.env.Leaks()
	r.failures = append(r.failures, leaks...)
	return err
}
