package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/authn/token"
	"frontproxy/index"
)

// heap is what is in use after a collection, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // no heap is that large
}

// TestRefusedRequestsKeepNoMemory: strangers' requests of nearly a megabyte, in
// their lines and headers, to workspaces that exist and that do not.
func TestRefusedRequestsKeepNoMemory(t *testing.T) {
	const (
		workspaces, kinds = 16, 3
		requests          = workspaces * kinds // each kind to each workspace
		size              = 900 << 10
		most              = requests * size / 9 // of what was sent
	)
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	for n := range workspaces {
		w.index[fmt.Sprint("ws", n)] = index.Target{Cluster: fmt.Sprint("ws", n), Shard: s.Shard}
	}
	a, err := authn.New(authn.Config{Tokens: []token.Authenticator{nobody{}}, Instance: "pod-1"})
	if err != nil {
		t.Fatal(err)
	}
	w.decide = a.Decide
	f := w.front(t)
	long := strings.Repeat("~", size) // HPACK sends it as it is; to code it in HPACK's way, bit by bit, takes a minute
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2 %t", http2), func(t *testing.T) {
			c := f.client(t, http2)
			ask := func(n int) {
				r, err := http.NewRequest("GET", f.URL+fmt.Sprintf("/clusters/ws%d/x", n%workspaces), nil)
				if err != nil {
					t.Fatal(err)
				}
				switch n % kinds {
				case 0:
					r.URL.RawQuery = "q=" + long
				case 1:
					r.Header.Set("Authorization", "Bearer "+long)
				case 2:
					r.Header.Set("User-Agent", long)
				}
				resp, err := c.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				_, _ = io.Copy(io.Discard, resp.Body)
				if resp.StatusCode != http.StatusUnauthorized {
					t.Fatalf("%s", resp.Status)
				}
			}
			ask(0)
			before := heap()
			for n := range requests {
				ask(n)
			}
			left := heap() - before
			t.Logf("%d requests of %d bytes leave %d bytes", requests, size, left)
			if left > most {
				t.Errorf("%d requests of %d bytes leave %d bytes", requests, size, left)
			}
		})
	}
	runtime.KeepAlive(a)
}

// nobody knows no token.
type nobody struct{}

// Name implements token.Authenticator.
func (nobody) Name() string { return "nobody" }

// AuthenticateToken implements token.Authenticator.
func (nobody) AuthenticateToken(context.Context, token.Token) (user.Info, time.Time, error) {
	return nil, time.Time{}, nil
}

// TestRecordedRequestsAreSmall: events and spans wait in buffers.
func TestRecordedRequestsAreSmall(t *testing.T) {
	const most = 32 << 10
	w := newWorld(t)
	w.shard(t, "shard-1", true, nil)
	events := &trail{}
	w.config.Audit = &Audit{Sink: events, Policy: metadataOfAll()}
	spans := tracetest.NewInMemoryExporter()
	w.config.Tracing = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	long := strings.Repeat("x", 500<<10)
	for name, tt := range map[string]struct {
		method, path string
		header       http.Header
	}{
		"query":            {"GET", "/clusters/root:ws/api/v1/pods?q=" + long, nil},
		"path":             {"GET", "/clusters/root:ws/api/v1/namespaces/default/pods/" + long, nil},
		"encoded path":     {"GET", "/clusters/root:ws/api/v1/namespaces/default/pods/%41" + long, nil},
		"cluster":          {"GET", "/clusters/" + long + "/api", nil},
		"name in selector": {"GET", "/clusters/root:ws/api/v1/pods?fieldSelector=metadata.name%3D" + long, nil},
		"method":           {strings.ToUpper(long), "/clusters/root:ws/api", nil},
		"addresses":        {"GET", "/clusters/root:ws/api", http.Header{"X-Forwarded-For": {strings.Repeat("1.1.1.1,", 60<<10)}}},
		"user agent":       {"GET", "/clusters/root:ws/api", http.Header{"User-Agent": {long}}},
		"trace state":      {"GET", "/clusters/root:ws/api", http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Tracestate": {"a=" + long[:200] + strings.Repeat(" ", 400<<10)}}},
	} {
		t.Run(name, func(t *testing.T) {
			spans.Reset()
			f := w.front(t)
			do(t, f.client(t, false), tt.method, f.URL+tt.path, tt.header)
			if err := f.stop(); err != nil { // all is recorded then
				t.Fatal(err)
			}
			if len(events.events) != 1 {
				t.Fatalf("%d events", len(events.events))
			}
			event, err := json.Marshal(events.events[0])
			events.events = nil
			if err != nil || len(event) > most {
				t.Errorf("the event has %d bytes: %v", len(event), err)
			}
			for _, s := range spans.GetSpans() {
				if text := fmt.Sprint(s.Name, s.Attributes, s.Links); len(text) > most {
					t.Errorf("the span has %d bytes: %.300s", len(text), text)
				}
			}
		})
	}
}
