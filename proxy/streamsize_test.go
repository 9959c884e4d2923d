package proxy

import (
	"net/http"
	"strings"
	"testing"
)

// TestStreamsKeepSmallRequests: a request is kept as long as its watch or its
// upgraded connection lasts, so a large one begins none.
func TestStreamsKeepSmallRequests(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusOK) })
	f := w.front(t)
	large := strings.Repeat("x", maxStreamRequest)
	half := strings.Repeat("x", maxStreamRequest/2)
	many := http.Header{}
	for i := range 2 * maxStreamRequest / headerOverhead / 2 {
		many.Add("X-"+strings.Repeat("a", i%50), "")
	}
	for name, tt := range map[string]struct {
		query  string
		header http.Header
		code   int
	}{
		"watch":                          {"watch=1", nil, 200},
		"watch, as large as it may be":   {"watch=1&labelSelector=" + half, nil, 200},
		"watch, long query":              {"watch=1&labelSelector=" + large, nil, 431},
		"watch, large header":            {"watch=1", http.Header{"X-Large": {large}}, 431},
		"watch, many small headers":      {"watch=1", many, 431},
		"upgrade, large header":          {"", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "X-Large": {large}}, 431},
		"watch, the token that admitted": {"watch=1", http.Header{"Authorization": {"Bearer " + large}}, 200},
		"no stream: a shard decides":     {"labelSelector=" + large, nil, 200},
		"no stream, with a large header": {"", http.Header{"X-Large": {large}}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := do(t, f.client(t, false), "GET", f.URL+"/clusters/root:ws/api/v1/pods?"+tt.query, tt.header)
			if resp.StatusCode != tt.code {
				t.Fatalf("got %s, want %d: %.300s", resp.Status, tt.code, body)
			}
			if tt.code == 431 && !strings.Contains(status(t, body).Message, "too large for a watch") {
				t.Errorf("message: %s", body)
			}
		})
	}
}
