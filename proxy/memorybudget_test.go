package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/authn/identity"
	"frontproxy/index"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/routing/routingtest"
)

// siege is a proxy that may have 80 requests in flight, and what besieges it.
type siege struct {
	*front
	t        *testing.T
	ctx      context.Context // of the attack
	answered atomic.Int64
}

const (
	mayRun = 80  // requests at a time
	sent   = 100 // in an attack
)

// besiege starts the proxy of w, whose workspace root:quiet is another tenant's.
func besiege(t *testing.T, w *world) *siege {
	t.Helper()
	shard := w.shard(t, "neighbour", true, nil)
	w.index["root:quiet"] = index.Target{Cluster: "quiet", Shard: shard.Shard}
	w.config.MaxInFlight = mayRun
	s := &siege{front: w.front(t), t: t}
	var end context.CancelFunc
	s.ctx, end = context.WithCancel(t.Context())
	t.Cleanup(func() { // before the proxy ends
		end()
		s.until("the attack is over", func() bool { return s.inFlight.Load() == 0 })
		if used := s.limit.requests.used.Load() + s.limit.streamStarts.used.Load() + s.limit.openStreams.used.Load() + s.limit.all.Load(); used != 0 {
			t.Errorf("%d bytes or places are not given back", used)
		}
	})
	return s
}

// send sends the requests of an attack, which ends with the test, and returns when
// each of them is answered or under way.
func (s *siege) send(c *http.Client, n int, token string, path func(i int) string) {
	s.t.Helper()
	c.Timeout = 0
	for i := range n {
		r, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.URL+path(i), nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		go func() {
			if res, err := c.Do(r); err == nil && res.StatusCode != http.StatusOK {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				s.answered.Add(1)
			}
		}()
	}
	s.until("the attack is under way", func() bool { return s.answered.Load()+s.inFlight.Load() == int64(n) })
}

func (s *siege) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not in time: %s; %d answered, %d under way", what, s.answered.Load(), s.inFlight.Load())
		}
	}
}

// from returns a client with an address of its own on the loopback network.
func (s *siege) from(address string, http2 bool) *http.Client {
	c := s.client(s.t, http2)
	c.Transport.(*http.Transport).DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	return c
}

// serves checks that a neighbour's requests are answered, as often as there are places.
func (s *siege) serves(who string, c *http.Client, path, token string) {
	s.t.Helper()
	for range mayRun {
		header := http.Header{}
		if token != "" {
			header.Set("Authorization", "Bearer "+token)
		}
		if res, body := do(s.t, c, http.MethodGet, s.URL+path, header); res.StatusCode != http.StatusOK {
			s.t.Fatalf("%s is answered %d: %s", who, res.StatusCode, body)
		}
	}
}

// TestHangingMountTakesNoPlaces: anonymous requests that wait for a mounted host
// take nobody's places, nor the host's from its other callers.
func TestHangingMountTakesNoPlaces(t *testing.T) {
	t.Parallel()
	w, _, _ := externalMountWorld(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/quick" {
			<-r.Context().Done()
		}
	})
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		if r.Header.Get("Authorization") == "" {
			return &authn.Decision{PassThrough: true, Status: http.StatusOK}
		}
		return &authn.Decision{User: alice, Status: http.StatusOK, Authenticator: "token"}
	}
	s := besiege(t, w)
	s.send(s.client(t, false), sent, "", func(int) string { return "/clusters/root:away/api" })
	s.serves("a stranger in another workspace", s.client(t, true), "/clusters/root:quiet/api", "")
	s.serves("a user of the mount", s.client(t, true), "/clusters/root:away/quick", "token")
	s.serves("a stranger at the mount, with another address", s.from("127.0.0.2", true), "/clusters/root:away/quick", "")
	if n := s.limit.all.Load(); n != 0 {
		t.Errorf("%d of the places of running requests are taken", n)
	}
}

// TestHangingIssuerTakesNoPlaces: requests that wait for who is asking take nobody's
// places, and nobody's who is known has to wait for them.
func TestHangingIssuerTakesNoPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide = func(ctx context.Context, r authn.Request) *authn.Decision {
		switch r.Header.Get("Authorization") {
		case "Bearer hanging":
			if !r.NoWait {
				<-ctx.Done()
			}
			return &authn.Decision{Status: http.StatusServiceUnavailable}
		case "Bearer new": // somebody has to be asked, who answers
			if r.NoWait {
				return &authn.Decision{Status: http.StatusServiceUnavailable}
			}
		}
		return &authn.Decision{User: alice, Status: http.StatusOK, Authenticator: "token"}
	}
	for _, query := range []string{"", "?watch=true"} {
		t.Run(query, func(t *testing.T) { hangingIssuerTakesNoPlaces(t, w, query) })
	}
}

func hangingIssuerTakesNoPlaces(t *testing.T, w *world, query string) {
	s := besiege(t, w)
	n := sent
	if query != "" {
		n = 4 * sent
	}
	s.send(s.client(t, false), n, "hanging", func(int) string { return "/clusters/root:ws/api/v1/pods" + query })
	if s.answered.Load() == 0 {
		t.Errorf("%q: nothing bounds how many wait", query)
	}
	s.serves("who is new to another workspace", s.client(t, true), "/clusters/root:quiet/api", "new")
	s.serves("who is known in the workspace, from the same address", s.client(t, true), "/clusters/root:ws/api", "known")
	s.serves("who is new to the workspace, with another address", s.from("127.0.0.2", true), "/clusters/root:ws/api", "new")
}

// TestWaitingAtManyWorkspacesLeavesRoomToOthers: one address that waits at many workspaces, which
// a tenant can make up, keeps nobody else from waiting, neither at another workspace nor at a page
// of the proxy's own.
func TestWaitingAtManyWorkspacesLeavesRoomToOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide = func(ctx context.Context, r authn.Request) *authn.Decision {
		switch {
		case r.NoWait:
			return &authn.Decision{Status: http.StatusServiceUnavailable}
		case r.Header.Get("Authorization") == "Bearer hanging":
			<-ctx.Done()
			return &authn.Decision{Status: http.StatusServiceUnavailable}
		}
		return &authn.Decision{User: alice, Status: http.StatusOK, Authenticator: "token"}
	}
	w.config.Pages.Authorizer = allowAll{}
	shard := w.shard(t, "shard-1", true, nil)
	const workspaces = 30
	for i := range workspaces {
		name := fmt.Sprint("ws", i)
		w.index[name] = index.Target{Cluster: name, Shard: shard.Shard}
	}
	s := besiege(t, w)
	s.send(s.client(t, true), 6*sent, "hanging", func(i int) string { return fmt.Sprintf("/clusters/ws%d/api", i%workspaces) })
	if s.answered.Load() == 0 {
		t.Error("nothing bounds how many wait")
	}
	s.serves("who is new to another workspace", s.client(t, true), "/clusters/root:quiet/api", "new")
	s.serves("a monitor", s.client(t, true), "/metrics", "new")
}

// TestPagesWaitOnlyWhileTheirAddressHasRoom: requests for the proxy's own pages wait for an
// issuer, and for what their user may read, only while their address has room.
func TestPagesWaitOnlyWhileTheirAddressHasRoom(t *testing.T) {
	t.Parallel()
	for _, hangs := range []string{"issuer", "authorizer"} {
		t.Run(hangs, func(t *testing.T) {
			w := newWorld(t)
			w.decide = func(ctx context.Context, r authn.Request) *authn.Decision {
				if hangs != "issuer" {
					return &authn.Decision{User: alice, Status: http.StatusOK, Authenticator: "token"}
				}
				if !r.NoWait {
					<-ctx.Done()
				}
				return &authn.Decision{Status: http.StatusServiceUnavailable}
			}
			w.config.Pages.Authorizer = hangingAuthorizer{}
			s := besiege(t, w)
			s.send(s.client(t, false), sent, "token", func(int) string { return "/metrics" })
			if s.answered.Load() == 0 {
				t.Error("nothing bounds how many wait")
			}
		})
	}
}

// hangingAuthorizer never knows, and waits for that unless it must not.
type hangingAuthorizer struct{}

// Authorize implements Authorizer.
func (hangingAuthorizer) Authorize(ctx context.Context, to accessreview.Access) (bool, error) {
	if !to.NoWait {
		<-ctx.Done()
	}
	return false, errors.New("root has not answered")
}

// TestMissingBodiesTakeNoPlaces: anonymous requests whose bodies are announced and do not
// come take nobody's places, whatever the length and the mapping.
func TestMissingBodiesTakeNoPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		if r.Method == http.MethodPost && r.Header.Get("Authorization") == "" {
			return &authn.Decision{PassThrough: true, Status: http.StatusOK}
		}
		return &authn.Decision{User: alice, Status: http.StatusOK, Authenticator: "token"}
	}
	backend := w.shard(t, "backend", true, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	w.index["root:ws"] = index.Target{Cluster: "2kd9", Shard: backend.Shard}
	w.mapping = "- path: /mapped/\n  backend: " + backend.URL + routingtest.TLSEntry
	for _, length := range []int{100, 1 << 20} {
		for _, path := range []string{"/clusters/root:ws/api", "/mapped/api"} {
			t.Run(fmt.Sprint(path, " ", length), func(t *testing.T) {
				s := besiege(t, w)
				w.index["root:ws"] = index.Target{Cluster: "2kd9", Shard: backend.Shard}
				var seen atomic.Int64
				for range sent {
					conn := s.dial(t)
					t.Cleanup(func() { _ = conn.NetConn().Close() })
					if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", path, length); err != nil {
						t.Fatal(err)
					}
					go func() {
						if n, _ := conn.Read(make([]byte, 1)); n > 0 {
							seen.Add(1)
						}
					}()
				}
				s.until("the attack is under way", func() bool { return seen.Load()+s.inFlight.Load() >= sent })
				s.serves("a neighbour", s.client(t, true), "/clusters/root:quiet/api", "")
				s.serves("a user of the workspace", s.client(t, true), "/clusters/root:ws/api", "token")
				s.serves("a user of the mapping", s.client(t, true), "/mapped/api", "token")
				res, err := s.client(t, true).Post(s.URL+"/mapped/api", "", bytes.NewReader(make([]byte, length)))
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				if want := http.StatusTooManyRequests; path == "/mapped/api" && res.StatusCode != want {
					t.Errorf("another stranger's body at this address is answered %d, want %d: nothing bounds how many wait", res.StatusCode, want)
				}
			})
		}
	}
}

// TestUnreadAnswersTakeNoPlaces: streams of HTTP/2 without a window take neither the
// places nor the memory of others, even if all of them run before the first waits for
// its client.
func TestUnreadAnswersTakeNoPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		u := user.Info(alice)
		if r.Header.Get("Authorization") != "" {
			u = &user.DefaultInfo{Name: "bob"}
		}
		return &authn.Decision{User: u, Status: http.StatusOK, Authenticator: "token"}
	}
	var running atomic.Int64
	all := make(chan struct{})
	answer := func(rw http.ResponseWriter, r *http.Request) {
		size := 2
		if strings.Contains(r.URL.Path, "large") {
			running.Add(1)
			<-all
			size = 128 << 10
		}
		_, _ = rw.Write(make([]byte, size))
	}
	const teams = 8
	near, far := w.shard(t, "shard-1", true, answer), w.shard(t, "shard-2", true, answer)
	for i := range teams {
		name, shard := fmt.Sprint("team", i), near
		if i%2 == 1 {
			shard = far
		}
		w.index[name] = index.Target{Cluster: name, Shard: shard.Shard}
	}
	w.index["root:here"] = index.Target{Cluster: "here", Shard: near.Shard}
	s := besiege(t, w)
	client := s.client(t, true)
	client.Timeout = 0
	client.Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 1}
	var begun, refused atomic.Int64
	for i := range mayRun {
		go func() {
			r, _ := http.NewRequestWithContext(s.ctx, http.MethodGet, fmt.Sprintf("%s/clusters/team%d/large", s.URL, i%teams), nil)
			switch res, err := client.Do(r); {
			case err != nil:
			case res.StatusCode == http.StatusOK:
				begun.Add(1) // nobody reads
			default:
				_ = res.Body.Close()
				refused.Add(1)
			}
		}()
	}
	s.until("all run or are refused", func() bool { return running.Load()+refused.Load() == mayRun })
	close(all)
	s.until("all that run wait for their client", func() bool { return begun.Load() == running.Load() && s.limit.all.Load() == 0 })
	if begun.Load() < mayRun/4 {
		t.Errorf("of %d streams only %d are let in", mayRun, begun.Load())
	}
	s.serves("a neighbour at the shard", s.client(t, true), "/clusters/root:here/api", "")
	s.serves("another user of the workspace", s.client(t, true), "/clusters/team0/api", "bob's")
}

// TestWatchIsChargedUntilItBegins: what only looks like a watch is counted like any
// request, and a watch pays until its answer has begun; but a storm of watches gets
// no 429.
func TestWatchIsChargedUntilItBegins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begin := make(chan struct{})
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		<-begin
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	target := w.index["root:ws"]
	s := besiege(t, w)
	w.index["root:ws"] = target
	const watches = 2 * mayRun
	client := s.client(t, true)
	s.send(client, watches, "", func(int) string { return "/clusters/root:ws/api/v1/pods?watch=1" })
	s.until("the watches pay", func() bool { return s.limit.streamStarts.used.Load() >= watches*requestBytes })
	r, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.URL+"/clusters/root:ws/api/v1/pods/one?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if res, err := client.Do(r); err == nil {
			_ = res.Body.Close()
		}
	}()
	s.until("a named object is counted", func() bool { return s.limit.all.Load() == 1 })
	if n := s.answered.Load(); n > 0 {
		t.Errorf("%d of %d watches are refused", n, watches)
	}
	close(begin)
	s.until("the watches are exempt", func() bool { return s.limit.streamStarts.used.Load() == 0 })
	s.until("all are open", func() bool { return s.streams.set.counts()[watchStream] == watches })
}

// TestMadeUpUsersLeaveRoomToOtherWorkspaces: a workspace's administrator can make up as many
// users as it likes, and all of them together leave room for the requests of others.
func TestMadeUpUsersLeaveRoomToOtherWorkspaces(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"", "?watch=true"} {
		t.Run(query, func(t *testing.T) {
			w := newWorld(t)
			w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
				return &authn.Decision{User: &user.DefaultInfo{Name: r.Header.Get("Authorization")}, Status: http.StatusOK, Authenticator: "token"}
			}
			s := besiege(t, w)
			s.uploads(sent, "/clusters/root:ws/api/v1/pods"+query)
			s.serves("a neighbour", s.client(t, true), "/clusters/root:quiet/api/v1/pods", "neighbour")
			s.serves("a neighbour of another address", s.from("127.0.0.2", true), "/clusters/root:quiet/api/v1/pods"+query, "neighbour")
		})
	}
}

// TestAccountsOfOtherWorkspacesLeaveRoom: whoever has a workspace can make up service accounts.
// The proxy admits them to every other workspace, where they take no room from those at home
// there, whatever their names are.
func TestAccountsOfOtherWorkspacesLeaveRoom(t *testing.T) {
	t.Parallel()
	account := func(home, name string) *user.DefaultInfo {
		return &user.DefaultInfo{Name: "system:serviceaccount:default:" + name, Extra: map[string][]string{identity.ClusterNameKey: {home}}}
	}
	for what, name := range map[string]func(i int) string{"many": strconv.Itoa, "a namesake": func(int) string { return "default" }} {
		for _, query := range []string{"", "?watch=true"} {
			t.Run(what+query, func(t *testing.T) {
				w := newWorld(t)
				w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
					u := account("2kd9", "default")
					if made, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer made-up-"); ok {
						i, _ := strconv.Atoi(made)
						u = account("attacker", name(i))
					}
					return &authn.Decision{User: u, Status: http.StatusOK, Authenticator: "token", ServiceAccount: true}
				}
				s := besiege(t, w)
				s.uploads(4*sent, "/clusters/root:ws/api/v1/pods"+query)
				s.serves("an account of the workspace", s.from("127.0.0.2", true), "/clusters/root:ws/api/v1/pods"+query, "")
			})
		}
	}
}

// uploads begins uploads of as many users, called made-up-0 and so on, which end with the test. It
// returns when each of them is answered or under way.
func (s *siege) uploads(n int64, path string) {
	s.t.Helper()
	var ended atomic.Int64
	for i := range n {
		conn := s.dial(s.t)
		s.t.Cleanup(func() { _ = conn.NetConn().Close() })
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer made-up-%d\r\nContent-Length: %d\r\n\r\n", path, i, 1<<20); err != nil {
			s.t.Fatal(err)
		}
		go func() {
			if n, _ := conn.Read(make([]byte, 1)); n > 0 {
				ended.Add(1)
			}
		}()
	}
	s.until("the attack is under way", func() bool { return ended.Load()+s.inFlight.Load() >= n })
	if ended.Load() == 0 {
		s.t.Error("nothing bounds how many wait")
	}
}

// TestOpenStreamsAreBounded: streams pay for their memory as long as they last, all those of a
// workspace have half of what there is, and those of one user a third.
func TestOpenStreamsAreBounded(t *testing.T) {
	t.Parallel()
	const memory, most = 8 << 20, 8 << 20 / openStreamsDivisor / streamBytes
	for _, c := range []struct {
		name  string
		user  func(i int) string
		least int64
		most  int64
	}{
		{"users that a workspace makes up", strconv.Itoa, most / 3, most / 2},
		{"one user", func(int) string { return "same" }, most / 4, most / 3},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ", HTTP/2: ", http2), func(t *testing.T) {
				w := newWorld(t)
				w.config.Memory, w.config.MaxInFlight = memory, 4000
				w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
					return &authn.Decision{User: &user.DefaultInfo{Name: r.Header.Get("Authorization")}, Status: http.StatusOK, Authenticator: "token"}
				}
				hang := func(rw http.ResponseWriter, r *http.Request) {
					_ = http.NewResponseController(rw).Flush()
					<-r.Context().Done()
				}
				for _, name := range []string{"root:ws", "root:other"} {
					w.index[name] = index.Target{Cluster: name[5:], Shard: w.shard(t, name[5:], true, hang).Shard}
				}
				f := w.front(t)
				ctx, end := context.WithCancel(t.Context())
				defer end()
				client := f.client(t, http2)
				client.Timeout = 0
				watch := func(path, user string) int {
					r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+path+"/api/v1/pods?watch=1", nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Authorization", "Bearer "+user)
					res, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					if res.StatusCode != http.StatusOK {
						_ = res.Body.Close()
					} // else until the test ends
					return res.StatusCode
				}
				var open int64
				for i := range most + 8 {
					switch code := watch("/clusters/root:ws", c.user(i)); code {
					case http.StatusOK:
						open++
					case http.StatusTooManyRequests:
					default:
						t.Fatalf("a watch is answered %d", code)
					}
				}
				if open < c.least || open > c.most {
					t.Errorf("%d watches are open, want %d to %d", open, c.least, c.most)
				}
				if code := watch("/clusters/root:other", "neighbour"); code != http.StatusOK {
					t.Errorf("a neighbour's watch is answered %d", code)
				}
				if n := f.limit.streamStarts.used.Load(); n != 0 {
					t.Errorf("%d bytes are charged for watches that have begun", n)
				}
				lines := metricLines(t, f.config.Metrics, "front_proxy_charged_memory")
				for name, bytes := range map[string]int64{"front_proxy_charged_memory_bytes": f.limit.openStreams.used.Load(), "front_proxy_charged_memory_limit_bytes": memory / openStreamsDivisor} {
					if want := fmt.Sprintf(`%s{budget="open_streams"} %v`, name, float64(bytes)); !slices.Contains(lines, want) {
						t.Errorf("metrics lack %s: %q", want, lines)
					}
				}
				end()
				until(t, "nothing is charged any more", func() bool { return f.limit.openStreams.used.Load() == 0 })
			})
		}
	}
}

// TestAccountsLeaveRoomForOthers: one account leaves most of the budget, and many, however
// many they are, leave room for the first request of the next.
func TestAccountsLeaveRoomForOthers(t *testing.T) {
	b := budgetOf(100)
	limit := b.limit.Load()
	if n := fill(b, b.user("a", "", "ws", workspaceGroup("ws"))); int64(n) > limit/requestBytes/(userDivisor+2) {
		t.Errorf("one user has %d requests of %d", n, limit/requestBytes)
	}
	for i := range 8 {
		if fill(b, b.unauthenticated(fmt.Sprintf("10.0.0.%d:1", i), "ws")) == 0 {
			t.Errorf("stranger %d has no room", i)
		}
	}
	if limit-b.used.Load() < limit/4 {
		t.Errorf("a user and eight strangers have taken %d of %d", b.used.Load(), limit)
	}
	if a, z := b.unauthenticated("[2001:db8::1]:1", "ws"), b.unauthenticated("[2001:db8::ffff:0:1]:2", "ws"); a != z {
		t.Error("addresses of one /64 pay apart")
	}
	if b.unauthenticated("10.0.0.1:1", "ws") != b.unauthenticated("10.0.0.1:2", "ws") {
		t.Error("ports of one address pay apart")
	}
	if b.user("default", "a", "ws", workspaceGroup("a")).account == b.user("default", "b", "ws", workspaceGroup("a")).account {
		t.Error("namesakes of two workspaces pay together")
	}
}

// TestGroupsLeaveHalfToOthers: however many accounts a group has, all of them together leave
// half of the budget to others, and an account of another group has its usual part of that.
func TestGroupsLeaveHalfToOthers(t *testing.T) {
	const accounts = 20_000
	for what, account := range map[string]func(b *memoryBudget, i int) payer{
		"users of one workspace": func(b *memoryBudget, i int) payer {
			return b.user(strconv.Itoa(i), "", "ws", workspaceGroup("ws"))
		},
		"strangers at many workspaces": func(b *memoryBudget, i int) payer {
			return b.unauthenticated(fmt.Sprintf("10.0.%d.%d:1", i>>8, i&0xff), strconv.Itoa(i))
		},
		"users of the mounts of one workspace": func(b *memoryBudget, i int) payer {
			d := mountedAt("ws", i)
			target, group := chargedTarget("", &d)
			return b.user("a", "", target, group)
		},
		"mounted hosts of one workspace": func(b *memoryBudget, i int) payer {
			d := mountedAt("ws", i)
			return b.host(fmt.Sprint("host", i), d.LastMount())
		},
		"addresses at a backend that authenticates": func(b *memoryBudget, i int) payer {
			return b.backendRunning(fmt.Sprintf("10.0.%d.%d:1", i>>8, i&0xff), "/mapped/", workspaceGroup("/mapped/"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := budgetOf(4000)
			for i := range accounts {
				fill(b, account(b, i))
			}
			used, limit := b.used.Load(), b.limit.Load()
			if used > limit/2+requestBytes || used < limit/3 {
				t.Errorf("they have %d of %d bytes, want half", used, limit)
			}
			if n := int64(fill(b, b.user("a", "", "quiet", workspaceGroup("quiet")))); n < limit/2/requestBytes/(userDivisor+2) {
				t.Errorf("another workspace's user has only %d requests", n)
			}
		})
	}
}

// TestFewAccountsDoNotFillTheirGroup: accounts that take all they may have leave room to the
// others of their group. Else a dozen would do, and one address has as many as there are workspaces.
func TestFewAccountsDoNotFillTheirGroup(t *testing.T) {
	for what, account := range map[string]func(b *memoryBudget, i int) payer{
		"strangers": func(b *memoryBudget, i int) payer { return b.unauthenticated("10.0.0.1:1", strconv.Itoa(i)) },
		"users": func(b *memoryBudget, i int) payer {
			return b.user(strconv.Itoa(i), "", "ws", workspaceGroup("ws"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			b := budgetOf(4000)
			for i := range 12 {
				fill(b, account(b, i))
			}
			if fill(b, account(b, 12)) == 0 {
				t.Error("another one has no room")
			}
		})
	}
}

// TestAddressesLeaveRoomToOtherAddresses: an address that asks at however many workspaces leaves
// room to others that ask at any of them.
func TestAddressesLeaveRoomToOtherAddresses(t *testing.T) {
	b := budgetOf(4000)
	for i := range 20_000 {
		fill(b, b.unauthenticated("10.0.0.1:1", strconv.Itoa(i)))
	}
	used, limit := b.used.Load(), b.limit.Load()
	if used > limit/3+requestBytes || used < limit/4 {
		t.Errorf("it has %d of %d bytes, want a third", used, limit)
	}
	for _, target := range []string{"0", "another"} {
		if n := int64(fill(b, b.unauthenticated("10.0.0.2:1", target))); n < limit/requestBytes/80 {
			t.Errorf("another address has only %d requests at %q", n, target)
		}
	}
}

// TestFullWorkspacesLeaveRoomToPages: when nobody may wait at any workspace, a monitor may wait
// for who may read the proxy's metrics, and a caller whom a backend authenticates is admitted.
func TestFullWorkspacesLeaveRoomToPages(t *testing.T) {
	var l requestLimits
	l.init(100, math.MaxInt64)
	for i := range 2000 {
		fill(&l.requests, l.requests.unauthenticated(fmt.Sprintf("10.0.%d.%d:1", i>>8, i&0xff), strconv.Itoa(i)))
	}
	r, _ := http.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "192.0.2.1:1"
	var atPage, atWorkspace, atBackend charges
	atPage.chargeAddress(&l, r, "/metrics", &destination.Destination{}, false)
	atWorkspace.chargeAddress(&l, r, "", &destination.Destination{Target: index.Target{Cluster: "2kd9"}}, false)
	if atPage.addressFull || !atWorkspace.addressFull {
		t.Errorf("at a page: full %v; at a workspace: full %v", atPage.addressFull, atWorkspace.addressFull)
	}
	backend := destination.Destination{Kind: destination.Backend, Exposure: destination.PassThrough, Pattern: "/mapped/"}
	atBackend.chargeAddress(&l, r, "", &backend, false)
	if status := atBackend.chargeCaller(nil, &backend); status != nil {
		t.Errorf("at a backend that authenticates: %s", status.Message)
	}
}

// TestEmptyHeadersAreCharged: a header takes memory without any text.
func TestEmptyHeadersAreCharged(t *testing.T) {
	const headers = 1000
	r, _ := http.NewRequest(http.MethodGet, "/", nil)
	r.Header["A"] = make([]string, headers)
	if n := weightOf(r); n < requestBytes+headers*headerOverhead {
		t.Errorf("%d empty headers are charged %d bytes", headers, n-requestBytes)
	}
}

// TestClustersHaveOneAccountUnderAllPaths: a logical cluster has several paths.
func TestClustersHaveOneAccountUnderAllPaths(t *testing.T) {
	d := destination.Destination{Kind: destination.Shard, ClusterPath: "root:a:ws", Pattern: "/clusters/", Target: index.Target{Cluster: "2kd9"}}
	target, group := chargedTarget("", &d)
	d.ClusterPath = "1abc:ws"
	if other, itsGroup := chargedTarget("", &d); other != target || itsGroup != group {
		t.Errorf("%v of %v and %v of %v", target, group, other, itsGroup)
	}
}

// TestBudgetsFollowTheMemory: the three budgets leave an eighth of the process's memory to
// everything else, however many requests may be in flight, and change with it.
func TestBudgetsFollowTheMemory(t *testing.T) {
	for _, c := range []struct{ most, memory, requests, streamStarts, openStreams int64 }{
		{4000, math.MaxInt64, 4000 * 128 << 10, 4000 * 256 << 10, math.MaxInt64 / 2},
		{4000, 800 << 20, 200 << 20, 100 << 20, 400 << 20},
		{400, 8 << 30, 400 * 128 << 10, 400 * 256 << 10, 4 << 30},
		{4000, 1 << 20, 4 << 20, 4 << 20, 4 << 20},
	} {
		var l requestLimits
		for _, set := range []func(){
			func() { l.init(int(c.most), c.memory) },
			func() { l.init(int(c.most), 5<<20); l.setMemory(c.memory) },
		} {
			set()
			got, want := [...]int64{l.requests.limit.Load(), l.streamStarts.limit.Load(), l.openStreams.limit.Load()}, [...]int64{c.requests, c.streamStarts, c.openStreams}
			if got != want {
				t.Errorf("%d requests in %d bytes: %d, want %d", c.most, c.memory, got, want)
			}
		}
	}
}

// TestBoundsInMetricsAreNumbers: where the memory is not known there is no bound, and so no series
// of it. Tools that read metrics differ in what infinity is.
func TestBoundsInMetricsAreNumbers(t *testing.T) {
	t.Parallel()
	for memory, bounded := range map[int64][]string{0: {"requests", "stream_starts"}, 8 << 30: {"open_streams", "requests", "stream_starts"}} {
		w := newWorld(t)
		w.config.Memory, w.config.MaxInFlight = memory, 4000
		var got []string
		for _, line := range metricLines(t, w.front(t).config.Metrics, "front_proxy_charged_memory_limit_bytes") {
			_, labels, _ := strings.Cut(line, `budget="`)
			budget, value, _ := strings.Cut(labels, `"} `)
			got = append(got, budget)
			if n, err := strconv.ParseFloat(value, 64); err != nil || n <= 0 || n > 8<<30 {
				t.Errorf("%d bytes of memory: %s (%v)", memory, line, err)
			}
		}
		if !slices.Equal(got, bounded) {
			t.Errorf("%d bytes of memory: there are bounds of %q, want %q", memory, got, bounded)
		}
	}
}

// budgetOf is the budget of requests when most may run.
func budgetOf(most int) *memoryBudget {
	var l requestLimits
	l.init(most, math.MaxInt64)
	return &l.requests
}

// fill takes what a payer may have, and returns how many requests that are.
func fill(b *memoryBudget, p payer) (n int) {
	for b.take(p, requestBytes) {
		n++
	}
	return n
}

func workspaceGroup(name string) accountKey { return accountKey{kind: targetGroup, target: name} }

func mountedAt(parent string, i int) destination.Destination {
	return destination.Destination{Kind: destination.MountedHost, Mounts: []destination.Mount{{Path: fmt.Sprintf("%s:%d", parent, i), Parent: parent}}}
}
