package main

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The benchmark starts itself for its parts: in a test that is the test.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"world", "floor", "load", "attack"}, os.Args[1]) {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestBench is a whole run, as small as one can be: every target starts, lets
// in whom it should and refuses the others, and the report has every figure.
// What the figures are is not judged.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	var out strings.Builder
	p, err := parsePlan([]string{"-shared", "-rounds=1", "-attack-rounds=1", "-measure=60ms", "-warm=30ms", "-workspaces=20", "-many=40", "-configurations=2",
		"-watches=6", "-watch-connections=2", "-settle=50ms", "-loops=100ms", "-events=100ms", "-body=1", "-attack=20", "-rest=200ms", "-out=" + dir})
	if err != nil {
		t.Fatal(err)
	}
	p.startLoad = startGoroutine // a process of this binary, with the race detector, takes a second to start
	if err := p.run(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	got := readSamples(t, filepath.Join(dir, "results.csv"))
	for _, c := range cells {
		of := []target{ours, incumbent}
		if c.admits {
			of = append(of, floor, usualFloor, pooledFloor)
		}
		if c.takes(haproxy) && findHAProxy() != "" {
			of = append(of, haproxy)
		}
		for _, who := range of {
			for _, metric := range []string{metricCPU, metricThroughput} {
				if !got[[3]string{c.name, metric, string(who)}] {
					t.Errorf("%s, %s of %s: no figure above 0", c.name, metric, who)
				}
			}
		}
		if c.admits && !got[[3]string{c.name, metricThroughput, string(direct)}] {
			t.Errorf("%s: no figure without a proxy", c.name)
		}
	}
	for _, who := range []target{ours, incumbent} {
		for _, installation := range []string{"20 workspaces", "40 workspaces"} {
			for _, metric := range []string{metricStart, metricPeak, metricResident} {
				if !got[[3]string{installation, metric, string(who)}] {
					t.Errorf("%s, %s of %s: no figure above 0", installation, metric, who)
				}
			}
		}
	}
	for _, a := range attacks {
		for _, who := range []target{ours, incumbent} {
			if !got[[3]string{a.name, "p99 ÷ p99 without", string(who)}] {
				t.Errorf("%s: no figure of %s", a.name, who)
			}
		}
		if !a.loops && !got[[3]string{a.name, "waiting of 20", string(ours)}] {
			t.Errorf("%s: nothing of it waits at front-proxy", a.name)
		}
	}
	text := out.String()
	for _, want := range []string{"| idle watch, HTTP/2: resident memory | KB |", "| idle watch, HTTP/1.1: resident memory | KB |", "| configuration of one issuer: resident memory | KB |", "CPU at 50 events a second"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	readXML(t, filepath.Join(dir, "results.svg"))
}

// readSamples says which figures there are, by measure, metric and target.
func readSamples(t *testing.T, file string) map[[3]string]bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all := map[[3]string]bool{}
	for _, r := range rows[1:] {
		if !strings.HasPrefix(r[5], "0") && !strings.HasPrefix(r[5], "-") || strings.HasPrefix(r[5], "0.") {
			all[[3]string{r[0], r[1], r[3]}] = true
		}
	}
	return all
}

func readXML(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := xml.NewDecoder(f)
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
}

// A part that fails ends the run with what it said.
func TestBenchFails(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"-shared", "-only=token", "-front-proxy=/bin/false", "-out=" + t.TempDir()}, &out)
	if err == nil || !strings.Contains(err.Error(), "front-proxy") {
		t.Errorf("a front-proxy that ends at once gives %v", err)
	}
}

func TestCPUTime(t *testing.T) {
	before := cpuTime(os.Getpid())
	for begin := time.Now(); time.Since(begin) < 20*time.Millisecond; {
		_ = strings.Repeat("x", 1000)
	}
	if used := cpuTime(os.Getpid()) - before; used <= 0 || used > time.Minute {
		t.Errorf("20 ms of work took %s of CPU", used)
	}
	if used := cpuTime(0); used != 0 {
		t.Errorf("no process has used %s", used)
	}
}
