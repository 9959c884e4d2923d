package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMetrics(t *testing.T) {
	m := metrics(`# HELP a words
# TYPE a gauge
a{flag="--x /dir with spaces",y="1"} 1
a{flag="--x",y="2"} 0.5
a_total 7
go_memstats_heap_alloc_bytes 1.5e+06
`)
	for series, want := range map[string]float64{`a`: 1.5, `a{flag="--x",y="2"}`: 0.5, `a{flag="--x"`: 0.5, `a_total`: 7, `go_memstats_heap_alloc_bytes`: 1.5e6, `b`: 0} {
		if got := m.sum(series); got != want {
			t.Errorf("the sum of %s is %v, want %v", series, got, want)
		}
	}
	if got := m.least("a"); got != 0.5 {
		t.Errorf("the least is %v", got)
	}
}

// What has grown is found, and what has not is not.
func TestGrowth(t *testing.T) {
	steady := reading{heap: 50 << 20, goroutines: 100, descriptors: 50}
	leaking := reading{heap: 60 << 20, goroutines: 120, descriptors: 70}
	if found := grown(steady, steady); len(found) > 0 {
		t.Error(found)
	}
	if found := grown(steady, leaking); len(found) != 3 {
		t.Errorf("found %q, want all three", found)
	}
	var all []reading
	for i := range 30 {
		r := steady
		r.heap += float64(i%3) * (1 << 19) // it goes up and down
		all = append(all, r)
	}
	if found := trend(all); len(found) > 0 {
		t.Error(found)
	}
	for i := range all {
		all[i].heap += float64(i) * (1 << 19)
		all[i].goroutines += float64(2 * i)
		all[i].descriptors += float64(2 * i)
	}
	if found := trend(all); len(found) != 3 {
		t.Errorf("found %q, want all three", found)
	}
}

// A request that fails is lost unless its shard was in trouble while it lasted.
func TestLostOrExcused(t *testing.T) {
	r := newReport(&plan{rate: 1, streams: 10}, "v1")
	l := &load{kinds: map[string]*count{}}
	l.under(r.row("a fault"))
	at := &place{trouble: &trouble{}}
	a := &ask{kind: "list"}
	l.note(a, at, 200, nil, false, time.Millisecond)
	l.note(a, at, 503, errFault, true, time.Minute)
	l.note(a, at, 503, errFault, false, time.Second)
	total, kinds := l.sum()
	if total != (count{asked: 3, lost: 1}) || !slices.Equal(kinds, []string{"list 3"}) || len(l.lost) != 1 {
		t.Errorf("%+v %q %q", total, kinds, l.lost)
	}
	r.total, r.took = total, time.Hour
	for _, want := range []string{"| a fault | 1 | 3 | 1 | 1 × 503 | 0 | 0 | 1s |", "3 requests, 1 lost", "1h0m0s with kcp v1", "every fault had been made once"} {
		if !strings.Contains(r.table(), want) {
			t.Errorf("the report lacks %q:\n%s", want, r.table())
		}
	}
	r.warm, r.end, r.readings = reading{started: 1, heap: 1 << 20}, reading{started: 1, heap: 2 << 20}, []reading{{goroutines: 7}}
	if want := "| live heap | 1.0 MiB | 2.0 MiB | 0.0 MiB | 0.0 MiB |"; !strings.Contains(r.table(), want) {
		t.Errorf("the report lacks %q:\n%s", want, r.table())
	}
}

type fixed string

func (f fixed) Error() string { return string(f) }

const errFault = fixed("503 instead of 200")

func TestPlan(t *testing.T) {
	p, err := parsePlan([]string{"-duration=3m", "-faults=killed,moved"})
	if err != nil {
		t.Fatal(err)
	}
	if p.duration != 3*time.Minute || !p.wants("shard-1 moved to") || p.wants("token file") {
		t.Errorf("%+v", p)
	}
	for _, args := range [][]string{{"-rate=0"}, {"-duration=0"}, {"further"}, {"-unknown"}} {
		if _, err := parsePlan(args); err == nil {
			t.Errorf("%q is no error", args)
		}
	}
}

func TestThousandsSeparators(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// A relay passes both ways, knows whose connections it has, and cuts them.
func TestRelay(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	r, err := newRelay(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := server.Client().Get(r.url)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%+v %v", answer, err)
	}
	_ = answer.Body.Close()
	if n, err := r.connectionsOf(os.Getpid()); err != nil || n != 1 {
		t.Errorf("%d connections of this process (%v)", n, err)
	}
	if n, _ := r.connectionsOf(1); n != 0 {
		t.Errorf("%d connections of another", n)
	}
	r.close()
	if answer, err := server.Client().Get(r.url); err == nil {
		_ = answer.Body.Close()
		t.Error("it passes on when it is closed")
	}
}
