package proxy

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"frontproxy/authn"
)

// TestHTTP2HandlerStackIsShort: over HTTP/2 nothing of net/http is between its connection and
// the proxy but what shorten puts there. Where this fails with another Go, an idle
// watch costs twice the stack, and nothing else is wrong.
func TestHTTP2HandlerStackIsShort(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, nil)
	calls := make(chan []string, 1)
	decide := w.decide
	w.decide = func(ctx context.Context, r authn.Request) *authn.Decision {
		counters := make([]uintptr, 64)
		frames := runtime.CallersFrames(counters[:runtime.Callers(1, counters)])
		var names []string
		for frame, more := frames.Next(); more; frame, more = frames.Next() {
			names = append(names, frame.Function)
		}
		calls <- names
		return decide(ctx, r)
	}
	f := w.front(t)
	if res, _ := do(t, f.client(t, true), "GET", f.URL+"/clusters/root:ws/api", nil); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	all := strings.Join(<-calls, "\n")
	if !strings.Contains(all, "(*direct).ServeHTTP") || strings.Contains(all, "serverHandler") || strings.Contains(all, "initALPN") {
		t.Errorf("the handler is called from\n%s", all)
	}
}
