package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"frontproxy/e2e/harness"
)

// reading is what the proxy's process holds at a moment. Bytes are after a
// collection.
type reading struct {
	heap, resident          float64
	goroutines, descriptors float64
	started                 float64 // the process, in seconds since 1970
	panics                  float64
	inFlight, streams       float64
}

// fetch is what the debug or the profiler's address answers.
func (s *soak) fetch(ctx context.Context, url string) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+url, nil) //nolint:gosec // an address of the proxy that we started
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r) //nolint:gosec // as above
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return text, err
}

func (s *soak) metrics(ctx context.Context) (metrics, error) {
	text, err := s.fetch(ctx, s.debug+"/metrics")
	return metrics(text), err
}

// read has the proxy collect garbage, pools included, and reads its metrics.
func (s *soak) read(ctx context.Context) (reading, error) {
	for range 3 { // a pool is empty after the second
		if _, err := s.fetch(ctx, s.profiler+"/debug/pprof/heap?gc=1"); err != nil {
			return reading{}, err
		}
	}
	m, err := s.metrics(ctx)
	return reading{
		heap: m.sum("go_memstats_heap_alloc_bytes"), resident: m.sum("process_resident_memory_bytes"),
		goroutines: m.sum("go_goroutines"), descriptors: m.sum("process_open_fds"),
		started: m.sum("process_start_time_seconds"), panics: m.sum("front_proxy_panics_total"),
		inFlight: m.sum("front_proxy_requests_in_flight"), streams: m.sum("front_proxy_open_streams"),
	}, err
}

// idle takes the load away, leaves the proxy alone, and reads. The profiles are
// kept in the work directory.
func (s *soak) idle(ctx context.Context, name string) (reading, error) {
	s.progress("idle reading: " + name)
	s.streams.stop()
	s.load.stop()
	if err := harness.Eventually(ctx, time.Minute, "nothing to be in flight at the proxy", func(ctx context.Context) error {
		r, err := s.read(ctx)
		if err == nil && r.inFlight+r.streams > 0 {
			err = fmt.Errorf("%v requests, %v streams", r.inFlight, r.streams)
		}
		return err
	}); err != nil {
		return reading{}, err
	}
	select {
	case <-ctx.Done():
		return reading{}, ctx.Err()
	case <-time.After(s.settle):
	}
	r, err := s.read(ctx)
	if err != nil {
		return r, err
	}
	for _, profile := range []string{"heap", "goroutine"} {
		text, err := s.fetch(ctx, s.profiler+"/debug/pprof/"+profile+"?debug=1")
		if err != nil {
			return r, err
		}
		if err := os.WriteFile(filepath.Join(s.env.Logs(), profile+"-"+name), text, 0o600); err != nil { //nolint:gosec // in our work directory
			return r, err
		}
	}
	s.progress(fmt.Sprintf("idle: %s", r))
	return r, nil
}

func (r reading) String() string {
	return fmt.Sprintf("%.1f MiB live, %.1f MiB resident, %.0f goroutines, %.0f descriptors", r.heap/(1<<20), r.resident/(1<<20), r.goroutines, r.descriptors)
}

// metrics are in Prometheus' text format.
type metrics []byte

// each calls do with every value whose name, and the labels after it, begin with
// series.
func (m metrics) each(series string, do func(value float64)) {
	lines := bufio.NewScanner(bytes.NewReader(m))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if brace := strings.LastIndexByte(lines.Text(), '}'); brace >= 0 {
			name, value, ok = lines.Text()[:brace+1], strings.TrimSpace(lines.Text()[brace+1:]), true
		}
		if !ok || strings.HasPrefix(name, "#") || !strings.HasPrefix(name, series) {
			continue
		}
		if rest := name[len(series):]; rest != "" && rest[0] != '{' && rest[0] != ',' {
			continue // another series
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			do(v)
		}
	}
}

func (m metrics) sum(series string) (sum float64) {
	m.each(series, func(v float64) { sum += v })
	return sum
}

func (m metrics) least(series string) float64 {
	least := 1.0
	m.each(series, func(v float64) { least = min(least, v) })
	return least
}

// bounds are what an idle state may have more than the one before, and what the
// last third of the readings under load may have more than the first.
const (
	heapFactor, heapMore             = 1.10, 1 << 20
	goroutinesFactor, goroutinesMore = 1.0, 8
	descriptorsMore                  = 8
	trendFactor, trendMore           = 1.10, 20
)

// grown says what has grown beyond its bound from one idle state to another.
func grown(before, after reading) (found []string) {
	check := func(what string, was, is, may float64) {
		if is > may {
			found = append(found, fmt.Sprintf("%s: %.0f idle after the warm-up, %.0f at the end, may be %.0f", what, was, is, may))
		}
	}
	check("live heap", before.heap, after.heap, before.heap*heapFactor+heapMore)
	check("goroutines", before.goroutines, after.goroutines, before.goroutines*goroutinesFactor+goroutinesMore)
	check("descriptors", before.descriptors, after.descriptors, before.descriptors+descriptorsMore)
	return found
}

// trend compares the median of the first third of readings with the last
// third's. Fewer than nine show none.
func trend(all []reading) (found []string) {
	third := len(all) / 3
	if third < 3 {
		return nil
	}
	for _, m := range []struct {
		what string
		of   func(reading) float64
		more float64
	}{
		{"live heap", func(r reading) float64 { return r.heap }, heapMore},
		{"goroutines", func(r reading) float64 { return r.goroutines }, trendMore},
		{"descriptors", func(r reading) float64 { return r.descriptors }, trendMore},
	} {
		first, last := median(all[:third], m.of), median(all[len(all)-third:], m.of)
		if last > first*trendFactor+m.more {
			found = append(found, fmt.Sprintf("%s under load: median %.0f in the first third, %.0f in the last", m.what, first, last))
		}
	}
	return found
}

func median(all []reading, of func(reading) float64) float64 {
	values := make([]float64, len(all))
	for i, r := range all {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
