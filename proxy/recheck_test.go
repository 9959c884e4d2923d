package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/klog/v2"
	testingclock "k8s.io/utils/clock/testing"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/routing/routingtest"
)

// eventOnly answers watches with one event and then nothing, and WebSockets with
// one message.
func eventOnly(t *testing.T) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, err := (&websocket.Upgrader{}).Upgrade(rw, r, nil)
			if err != nil {
				t.Errorf("upgrade: %v", err)
				return
			}
			_ = c.WriteMessage(websocket.TextMessage, []byte("event"))
			_, _, _ = c.ReadMessage() // until the other side ends
			_ = c.Close()
			return
		}
		_, _ = io.WriteString(rw, "event\n")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	}
}

// recheckWorld has a shard of eventOnly.
func recheckWorld(t *testing.T, recheck func(context.Context, authn.Request, *authn.Decision) *authn.Decision) (*world, *front) {
	t.Helper()
	w := newWorld(t)
	w.shard(t, "shard-1", true, eventOnly(t))
	w.config.Recheck, w.config.RecheckPeriod = recheck, 30*time.Millisecond
	return w, w.front(t)
}

// watch opens a watch, reads its first event, and returns what reads the rest.
func (f *front) watch(t *testing.T, http2 bool) func() error {
	t.Helper()
	return f.watchAt(t, http2, "/clusters/root:ws/api/v1/pods?watch=1")
}

func (f *front) watchAt(t *testing.T, http2 bool, path string) func() error {
	t.Helper()
	res, err := f.client(t, http2).Get(f.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "event\n" {
		t.Fatalf("the watch begins with %q, %v", line, err)
	}
	return func() error { _, err := lines.ReadByte(); return err }
}

func (f *front) webSocket(t *testing.T) func() error {
	t.Helper()
	d := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: f.root}}
	c, res, err := d.Dial(strings.Replace(f.URL, "https", "wss", 1)+"/clusters/root:ws/exec", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	t.Cleanup(func() { _ = c.Close() })
	if _, message, err := c.ReadMessage(); string(message) != "event" {
		t.Fatalf("the WebSocket begins with %q, %v", message, err)
	}
	return func() error { _, _, err := c.ReadMessage(); return err }
}

// ends waits for what reads the rest of a stream.
func ends(t *testing.T, read func() error) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- read() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the stream goes on after 20 s")
		return nil
	}
}

func TestStreamsEndWithWhatAdmittedThem(t *testing.T) {
	var revoked atomic.Bool
	var calls atomic.Int64
	_, f := recheckWorld(t, func(_ context.Context, r authn.Request, d *authn.Decision) *authn.Decision {
		calls.Add(1)
		if r.Target.Cluster != "2kd9" || d.User != alice || r.Header.Get("X-Mark") != "" {
			t.Errorf("decided again about %+v, %+v", r.Target, d)
		}
		if revoked.Load() {
			return &authn.Decision{Status: http.StatusUnauthorized, ID: "id"}
		}
		return nil
	})
	streams := map[string]func() error{
		"watch, HTTP/1.1": f.watch(t, false), "watch, HTTP/2": f.watch(t, true), "WebSocket": f.webSocket(t),
		"watch, spelt otherwise": f.watchAt(t, true, "/clusters/root:ws/api/v1/pods?x=%zz&w%61tch"),
		"watch, the old form":    f.watchAt(t, true, "/clusters/root:ws/api/v1/w%61tch/x"),
		"events, HTTP/1.1":       f.watchAt(t, false, "/clusters/root:ws/events"),
		"events, HTTP/2":         f.watchAt(t, true, "/clusters/root:ws/api/v1/pods/one?watch=1"),
	}
	for deadline := time.Now().Add(20 * time.Second); calls.Load() < 20 || f.streams.set.counts()[answerStream] < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("decided again %d times within 20 s", calls.Load())
		}
	}
	if n := f.streams.set.counts(); n[watchStream] != 4 || n[upgradeStream] != 1 || n[answerStream] != 2 || f.streams.revoked.Load() != 0 {
		t.Fatalf("%v streams are left, %d were ended, while they are admitted", n, f.streams.revoked.Load())
	}
	revoked.Store(true)
	for name, read := range streams {
		// A client must not take what was cut for a whole answer.
		if err := ends(t, read); name != "WebSocket" && errors.Is(err, io.EOF) != strings.HasPrefix(name, "watch") {
			t.Errorf("%s ends with %v", name, err)
		}
	}
	if f.streams.revoked.Load() != 7 {
		t.Errorf("%d streams count as ended, want 7", f.streams.revoked.Load())
	}
	until(t, "no stream is left", func() bool { return f.streams.set.counts() == [streamKinds]int{} })
}

// TestRevokedTunnelEndsThoughItsClientIsSilent: nor is anything left of it, even if the server
// ended its side first and the client keeps its own open.
func TestRevokedTunnelEndsThoughItsClientIsSilent(t *testing.T) {
	var revoked atomic.Bool
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		c, err := (&websocket.Upgrader{}).Upgrade(rw, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		_ = c.WriteMessage(websocket.TextMessage, []byte("event"))
		_ = c.Close()
	})
	w.config.Recheck = func(context.Context, authn.Request, *authn.Decision) *authn.Decision {
		if revoked.Load() {
			return &authn.Decision{Status: http.StatusUnauthorized, ID: "id"}
		}
		return nil
	}
	w.config.RecheckPeriod = 30 * time.Millisecond
	f := w.front(t)
	_ = ends(t, f.webSocket(t)) // the client has seen the server's end, and does not close its own
	if n := f.streams.set.counts()[upgradeStream]; n != 1 {
		t.Fatalf("%d tunnels are open, want 1", n)
	}
	revoked.Store(true)
	until(t, "no stream is left", func() bool { return f.streams.set.counts() == [streamKinds]int{} })
}

func TestStreamEndsWithItsWorkspace(t *testing.T) {
	var mu sync.Mutex
	answer := error(index.ErrConflict)
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "event\n")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	var calls atomic.Int64
	w.index["2kd9"] = func() error {
		calls.Add(1)
		mu.Lock()
		defer mu.Unlock()
		return answer
	}
	w.config.Recheck = func(context.Context, authn.Request, *authn.Decision) *authn.Decision { return nil }
	w.config.RecheckPeriod = 15 * time.Millisecond
	f := w.front(t)
	read := f.watch(t, true)
	for deadline := time.Now().Add(20 * time.Second); calls.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the workspace is not looked up within 20 s")
		}
	}
	if f.streams.revoked.Load() != 0 {
		t.Fatal("the watch is ended though nobody knows where its workspace is")
	}
	mu.Lock()
	answer = index.ErrUnknown
	mu.Unlock()
	if err := ends(t, read); !errors.Is(err, io.EOF) {
		t.Errorf("the watch ends with %v", err)
	}
}

// TestStreamEndsWithItsShard: root lists the shard no more whose virtual
// workspaces are watched.
func TestStreamEndsWithItsShard(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "event\n")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	var calls atomic.Int64
	var answer atomic.Pointer[error]
	w.config.Routing.ShardServices = func(string) (*shards.Shard, error) {
		calls.Add(1)
		if err := answer.Load(); err != nil {
			return nil, *err
		}
		return s.Shard, nil
	}
	w.config.Recheck = func(context.Context, authn.Request, *authn.Decision) *authn.Decision { return nil }
	w.config.RecheckPeriod = 15 * time.Millisecond
	f := w.front(t)
	read := f.watchAt(t, true, "/shards/shard-1/services/x/clusters/*/api/v1/pods?watch=1")
	unsynced, gone := error(index.ErrNotSynced), error(index.ErrUnknown)
	answer.Store(&unsynced)
	for before, deadline := calls.Load(), time.Now().Add(20*time.Second); calls.Load() < before+3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the shard is not looked up within 20 s")
		}
	}
	if f.streams.revoked.Load() != 0 {
		t.Fatal("the watch is ended though nobody knows whether its shard is there")
	}
	answer.Store(&gone)
	if err := ends(t, read); !errors.Is(err, io.EOF) {
		t.Errorf("the watch ends with %v", err)
	}
}

// TestRevokedStreamCountsOnce: its end may take a while, and other rechecks end it again.
func TestRevokedStreamCountsOnce(t *testing.T) {
	const period = 15 * time.Second
	ss := streamSupervisor{set: newStreamSet(), log: klog.Background()}
	ends := 0
	ss.set.add(&stream{kind: watchStream, end: func() { ends++ }, admittedBy: &streamAuthn{request: authn.Request{URL: new(url.URL)}}})
	now := time.Now()
	for n := range 4 {
		for _, st := range dueAt(ss.set, now.Add(time.Duration(n)*period), period) {
			ss.endRevoked(st, "a test says so", "")
			ss.set.endRecheck(st, false, false)
		}
	}
	if ends < 2 || ss.revoked.Load() != 1 {
		t.Errorf("ended %d times, counted %d times", ends, ss.revoked.Load())
	}
}

// dueAt are the streams that are to be decided about again at a time.
func dueAt(s *streamSet, now time.Time, period time.Duration) (due []*stream) {
	s.queueDue(now, period)
	for st := s.nextRecheck(); st != nil; st = s.nextRecheck() {
		due = append(due, st)
	}
	return due
}

// TestRecheckWhenTheCredentialExpires: a stream is also looked at when its credential ends.
func TestRecheckWhenTheCredentialExpires(t *testing.T) {
	now := time.Now()
	const period = 15 * time.Second
	for name, tc := range map[string]struct {
		until time.Duration
		due   []time.Duration // from now
	}{
		"soon":               {5 * time.Second, []time.Duration{5 * time.Second, 20 * time.Second}},
		"in the next period": {20 * time.Second, []time.Duration{period, 20 * time.Second, 35 * time.Second}},
		"later":              {time.Hour, []time.Duration{period, 2 * period}},
		"long ago":           {-time.Hour, []time.Duration{period, 2 * period}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStreamSet()
			s.add(&stream{kind: watchStream, admittedBy: &streamAuthn{decision: &authn.Decision{ExpiresAt: now.Add(tc.until)}}})
			if n := len(dueAt(s, now, period)); n != 0 {
				t.Fatalf("%d are due when new", n)
			}
			for i, at := range tc.due {
				if i > 0 && len(dueAt(s, now.Add(at-1), period)) != 0 {
					t.Errorf("due before %v", at)
				}
				due := dueAt(s, now.Add(at), period)
				if len(due) != 1 {
					t.Fatalf("%d are due at %v", len(due), at)
				}
				s.endRecheck(due[0], false, false)
			}
		})
	}
}

func TestDueStreams(t *testing.T) {
	s := newStreamSet()
	s.add(&stream{kind: watchStream}) // never decided about again
	s.add(&stream{kind: watchStream, admittedBy: &streamAuthn{}})
	now := time.Now()
	const period = 15 * time.Second
	due := func(after time.Duration) []*stream { return dueAt(s, now.Add(after), period) }
	if n := len(due(0)); n != 0 {
		t.Fatalf("%d are due when new", n)
	}
	if n := len(due(period / 2)); n != 0 {
		t.Errorf("%d are due after half a period", n)
	}
	first := due(period)
	if len(first) != 1 {
		t.Fatalf("%d are due after a period, want 1", len(first))
	}
	if n := len(due(3 * period)); n != 0 {
		t.Errorf("%d are due while they are looked at", n)
	}
	s.endRecheck(first[0], false, false)
	if n := len(due(3 * period)); n != 1 {
		t.Errorf("%d are due after another period, want 1", n)
	}
}

// TestStreamsEndWithTheirMount: the mount is removed, leads elsewhere, or the
// operator does not list its host any more.
func TestStreamsEndWithTheirMount(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		listed  bool // the mount's host is in the list
		before  error
		mount   func(was string) (index.Target, error)
		delist  bool
		upgrade bool
	}{
		"removed":                 {mount: func(string) (index.Target, error) { return index.Target{}, index.ErrUnknown }},
		"removed, WebSocket":      {upgrade: true, mount: func(string) (index.Target, error) { return index.Target{}, index.ErrUnknown }},
		"leads elsewhere":         {mount: func(was string) (index.Target, error) { return index.Target{Mount: parse(t, was+"/x")}, nil }},
		"a workspace now":         {mount: func(string) (index.Target, error) { return index.Target{Cluster: "2kd9"}, nil }},
		"host not listed anymore": {listed: true, delist: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, other := externalMountWorld(t, eventOnly(t))
			var calls atomic.Int64
			var changed atomic.Bool
			w.index["root:ws"] = func() (index.Target, error) {
				switch n := calls.Add(1); {
				case changed.Load() && tc.mount != nil:
					return tc.mount(other.URL)
				case n%2 == 0: // nobody can tell
					return index.Target{}, index.ErrUnavailable
				}
				return index.Target{Mount: parse(t, other.URL)}, nil
			}
			list := "[]"
			if tc.listed {
				list = "- url: " + other.URL + "\n  backend_server_ca: " + w.write(t, "mount-ca.crt", w.serving.PEM)
			}
			file := w.write(t, "mount-hosts.yaml", []byte(list))
			clk := testingclock.NewFakeClock(time.Now())
			hosts, err := routing.NewMountHosts(file, clk, klog.Background())
			if err != nil {
				t.Fatal(err)
			}
			w.config.Routing.MountHosts = hosts
			w.config.Recheck = func(context.Context, authn.Request, *authn.Decision) *authn.Decision { return nil }
			w.config.RecheckPeriod = 15 * time.Millisecond
			f := w.front(t)
			var read func() error
			if tc.upgrade {
				read = f.webSocket(t)
			} else {
				read = f.watch(t, true)
			}
			for deadline := time.Now().Add(20 * time.Second); calls.Load() < 8; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the mount is not looked up within 20 s")
				}
			}
			if f.streams.revoked.Load() != 0 {
				t.Fatal("the stream is ended though its mount is as it was")
			}
			if tc.delist {
				w.write(t, "mount-hosts.yaml", []byte("[]"))
				routingtest.Settle(t, hosts.File, clk)
				if err := hosts.LastError(); err != nil {
					t.Fatal(err)
				}
			}
			changed.Store(true)
			_ = ends(t, read)
			if f.streams.revoked.Load() != 1 {
				t.Errorf("%d streams count as ended, want 1", f.streams.revoked.Load())
			}
		})
	}
}
