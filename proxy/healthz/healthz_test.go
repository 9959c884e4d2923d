package healthz

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/index/shards"
)

func TestHealth(t *testing.T) {
	start := time.Unix(1000, 0)
	status := shards.Status{}
	now := start
	h := &Health{Now: func() time.Time { return now }, Shards: func() shards.Status { return status }}
	type answer struct {
		Code int
		Body string
	}
	ask := func(path string) answer {
		w := httptest.NewRecorder()
		if !h.Serve(w, httptest.NewRequest("GET", path, nil)) {
			return answer{}
		}
		return answer{w.Code, w.Body.String()}
	}
	check := func(path string, want answer) {
		t.Helper()
		if diff := cmp.Diff(want, ask(path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	secret := "dial https://10.0.0.1:6443: refused"
	status.Root = shards.ResourceWatchStatus{State: shards.Failed, Error: secret}
	check("/livez", answer{200, "ok"})
	check("/livez/ping", answer{200, "ok"})
	check("/livez?verbose", answer{200, "[+]ping ok\nlivez check passed\n"})
	check("/livez/nope", answer{404, "404 page not found\n"})
	check("/healthz", answer{200, "ok"})
	check("/healthz/ping", answer{200, "ok"})
	check("/healthz?verbose", answer{200, "[+]ping ok\nhealthz check passed\n"})
	check("/healthz/nope", answer{404, "404 page not found\n"})
	check("/readyz", answer{500, "[+]ping ok\n[+]shutdown ok\n[-]root failed: cannot be read; see the log or /statusz\nreadyz check failed\n"})
	status.Root.Synced, status.Root.State = true, shards.Synced
	status.Shards = []shards.ShardStatus{
		{Name: "a", State: shards.Synced, Synced: true, Since: metav1.NewTime(start)},
		{Name: "b", State: shards.Failed, Since: metav1.NewTime(start), Reason: secret, Watches: []shards.ResourceWatchStatus{{Error: secret}}},
	}
	check("/readyz", answer{500, "[+]ping ok\n[+]shutdown ok\n[+]root ok: synced\n[-]shards failed: not all have been read; see the log or /statusz\nreadyz check failed\n"})
	check("/readyz/shards", answer{500, "[-]shards failed: not all have been read; see the log or /statusz\nreadyz check failed\n"})
	check("/readyz/shard-a", answer{404, "404 page not found\n"})
	now = start.Add(patience)
	check("/readyz", answer{200, "ok"})
	check("/readyz?verbose", answer{200, "[+]ping ok\n[+]shutdown ok\n[+]root ok: synced\n[+]shards ok: some cannot be read now; see the log or /statusz\nreadyz check passed\n"})
	status.Shards[1].State = shards.Syncing
	check("/readyz/shards", answer{500, "[-]shards failed: not all have been read; see the log or /statusz\nreadyz check failed\n"})
	status.Shards[1] = shards.ShardStatus{Name: "b", State: shards.Failed, Synced: true, Since: metav1.NewTime(now)} // lost after it was read
	check("/readyz", answer{200, "ok"})
	check("/readyz/shards?verbose", answer{200, "[+]shards ok: some cannot be read now; see the log or /statusz\nreadyz check passed\n"})
	status.Shards[1].State = shards.Synced
	check("/readyz/shards?verbose", answer{200, "[+]shards ok: synced\nreadyz check passed\n"})
	h.Drain()
	check("/readyz/shutdown", answer{500, "[-]shutdown failed: reason withheld\nreadyz check failed\n"})
	check("/livez", answer{200, "ok"})
	check("/api", answer{})
	check("/readyzz", answer{})
}
