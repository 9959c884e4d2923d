package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"frontproxy/proxy/upstream/upstreamtest"

	"k8s.io/klog/v2"
)

// relay stands before a server. Frozen, it still accepts connections, and
// passes nothing on.
type relay struct {
	net.Listener
	mu     sync.Mutex
	thaw   *sync.Cond
	frozen bool
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	r.thaw = sync.NewCond(&r.mu)
	t.Cleanup(func() { r.freeze(false); _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				back, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer back.Close()
				go r.pass(back, conn)
				r.pass(conn, back)
			}()
		}
	}()
	return r
}

func (r *relay) pass(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		for r.frozen {
			r.thaw.Wait()
		}
		r.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}

func (r *relay) freeze(frozen bool) {
	r.mu.Lock()
	r.frozen = frozen
	r.mu.Unlock()
	r.thaw.Broadcast()
}

// pulsed is a server behind a relay, and a transport whose health is quick.
func checked(t *testing.T, h http.HandlerFunc, http2 bool) (*relay, *healthChecker, func() error) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	r := newRelay(t, server.Listener.Addr().String())
	config := server.Client().Transport.(*http.Transport).TLSClientConfig
	p := newHealthChecker(func() *tls.Config { return config.Clone() }, klog.Logger{})
	p.every, p.after, p.patience = 10*time.Millisecond, 200*time.Millisecond, 2*time.Second
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	transport := &http.Transport{DialContext: p.dialFor(false), TLSClientConfig: config.Clone(), ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	ask := func() error {
		resp, err := client.Get("https://" + r.Addr().String())
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return err
	}
	return r, p, ask
}

func TestFailsFastWhileBackendIsSilent(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			relay, p, ask := checked(t, func(http.ResponseWriter, *http.Request) {}, http2)
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			relay.freeze(true)
			if err := ask(); err == nil {
				t.Fatal("a frozen backend has answered")
			}
			// It is known now: nobody waits again.
			if err := ask(); !errors.Is(err, errSilent) {
				t.Fatalf("a request to a backend that is known to be silent: %v", err)
			}
			if p.responds(relay.Addr().String()) || !p.responds("127.0.0.1:1") {
				t.Error("the silent backend counts as one that responds, or an unknown one does not")
			}
			relay.freeze(false)
			deadline := time.Now().Add(30 * time.Second)
			for err := ask(); err != nil; err = ask() {
				if time.Now().After(deadline) {
					t.Fatalf("the backend is back: %v", err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.hosts) != 1 {
				t.Errorf("%d hosts are looked at", len(p.hosts))
			}
		})
	}
}

// TestFrozenBackendLosesWaitingConnection: silence that follows an answer means nothing, but on a
// connection that waits it is looked into: a backend that lives keeps it, and a
// frozen one loses it.
func TestFrozenBackendLosesWaitingConnection(t *testing.T) {
	relay, p, _ := checked(t, func(rw http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	}, false)
	config := p.config()
	transport := &http.Transport{DialContext: p.dialFor(true), TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("https://" + relay.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	ended := make(chan error, 1)
	go func() { _, err := res.Body.Read(make([]byte, 1)); ended <- err }()
	select {
	case err := <-ended:
		t.Fatalf("a backend that lives lost a connection: %v", err)
	case <-time.After(10 * p.after):
	}
	relay.freeze(true)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("a frozen backend kept a connection")
	}
}

// A slow answer of a backend that lives is waited for.
func TestWaitsForSlowBackend(t *testing.T) {
	asked := make(chan struct{})
	_, p, ask := checked(t, func(http.ResponseWriter, *http.Request) {
		close(asked)
		time.Sleep(2 * time.Second) // ten times as long as is waited before asking
	}, false)
	if err := ask(); err != nil {
		t.Errorf("a slow answer: %v", err)
	}
	<-asked
	if p.ticks.Load() < 50 {
		t.Errorf("only %d looks: this tests nothing", p.ticks.Load())
	}
}

// A backend that is not there says so itself; what is closed is forgotten.
func TestRefusedConnectionIsAResponse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	p := newHealthChecker(func() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }, klog.Logger{})
	if err := p.handshake(t.Context(), address); err != nil {
		t.Errorf("a refused connection is an answer: %v", err)
	}
	if _, err := p.dial(t.Context(), "tcp", address, false); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("dial: %v", err)
	}
	if len(p.suspects()) > 0 || len(p.hosts) > 0 {
		t.Error("a host without connections is kept")
	}
}

// TestFailsFastWhileBackendIsUnreachable: the first who find that no connection can be made wait for
// it, the others do not, until there is one again.
func TestFailsFastWhileBackendIsUnreachable(t *testing.T) {
	fd, address := upstreamtest.Full(t)
	p := newHealthChecker(func() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }, klog.Logger{}) //nolint:gosec // nothing is said
	p.every, p.patience, p.dialer.Timeout = 10*time.Millisecond, 500*time.Millisecond, 300*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	if _, err := p.dial(t.Context(), "tcp", address, false); !timedOut(err) {
		t.Fatalf("the first: %v", err)
	}
	for range 100 {
		if _, err := p.dial(t.Context(), "tcp", address, false); !errors.Is(err, errSilent) {
			t.Fatalf("a later one: %v", err)
		}
	}
	if p.responds(address) {
		t.Error("a backend to which no connection can be made counts as one that responds")
	}
	file := os.NewFile(uintptr(fd), "listener")
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := p.dial(t.Context(), "tcp", address, false)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("connections can be made again: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
