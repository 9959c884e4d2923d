package index

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// padding makes an object about as long as kcp's are.
var padding = `,"managedFields":[` + strings.Repeat(`{"manager":"kcp","fieldsV1":{"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Ready\"}":{}}}}},`, 20) + `{}]`

// serveMany serves n workspaces below root as streamed lists, made while they
// are sent, so that they take no memory of this process.
func serveMany(t testing.TB, n int) *rest.Config {
	t.Helper()
	var base string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		send := func(format string, args ...any) {
			_, _ = fmt.Fprintf(w, `{"type":"ADDED","object":`+format+"}\n", args...)
		}
		switch r.URL.Path {
		case "/clusters/root/apis/apis.kcp.io/v1alpha2/apiexports/tenancy.kcp.io":
			_, _ = io.WriteString(w, `{"status":{"identityHash":"h"}}`)
			return
		case "/clusters/root/apis/core.kcp.io/v1alpha1/shards":
			send(`{"metadata":{"name":"root"},"spec":{"baseURL":%q}}`, base)
		case "/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters":
			send(`%s`, strings.Join(strings.Fields(rootLC), ""))
			for i := range n {
				send(`{"metadata":{"name":"cluster","resourceVersion":"1","annotations":{"kcp.io/cluster":"c%015d"}%s},"spec":{"owner":{}}}`, i, padding)
			}
		case "/clusters/*/apis/tenancy.kcp.io/v1alpha1/workspaces:h":
			for i := range n {
				send(`{"metadata":{"name":"ws-%d","resourceVersion":"1","annotations":{"kcp.io/cluster":"root"}%s},"spec":{"cluster":"c%015d","type":{"name":"universal","path":"root"}},"status":{"phase":"Ready"}}`, i, padding, i)
			}
		}
		_, _ = io.WriteString(w, `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2","annotations":{"k8s.io/initial-events-end":"true"}}}}`+"\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	base = s.URL
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return &rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
}

// fill reads all that cfg serves into an index, and ends the watches.
func fill(t testing.TB, cfg *rest.Config) *Index {
	t.Helper()
	x, stop := follow(t, cfg)
	stop()
	return x
}

// live is the heap that is in use.
func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // below 2^63
}

// TestMemory holds what a workspace and its logical cluster keep, read as a
// program reads them.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures memory for seconds: make test runs it")
	}
	const n, most = 20_000, 250
	cfg := serveMany(t, n)
	before := live()
	x := fill(t, cfg)
	got := (live() - before) / n
	if _, err := x.Lookup("root:ws-" + strconv.Itoa(n-1)); err != nil {
		t.Fatal(err)
	}
	if got > most {
		t.Errorf("%d bytes a workspace, want at most %d", got, most)
	}
}

// BenchmarkStart is reading a whole shard. MB-peak is the most that the
// process has had resident so far, the server included: run one size at a time.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("workspaces=%d", n), func(b *testing.B) {
			cfg := serveMany(b, n)
			for b.Loop() {
				runtime.KeepAlive(fill(b, cfg))
			}
			b.ReportMetric(peakMB(b), "MB-peak")
		})
	}
}

// peakMB is the process' VmHWM.
func peakMB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc here")
	}
	for line := range bytes.Lines(status) {
		if kb, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			n, err := strconv.ParseFloat(string(bytes.Fields(kb)[0]), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n * 1024 / 1e6
		}
	}
	return 0
}
