package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a TLS server whose connections are served by a function.
type scripted struct {
	net.Listener
	roots *x509.CertPool
	conns atomic.Int64
}

// serve starts a server that calls each with every connection, which it then closes.
func serve(tb testing.TB, each func(conn net.Conn, r *bufio.Reader)) *scripted {
	tb.Helper()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	certified.Close()
	inner, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates})
	if err != nil {
		tb.Fatal(err)
	}
	s := &scripted{Listener: inner, roots: x509.NewCertPool()}
	s.roots.AddCert(certified.Certificate())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := inner.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				each(conn, bufio.NewReader(conn))
			})
		}
	})
	tb.Cleanup(func() {
		_ = s.Close()
		running.Wait()
	})
	return s
}

// client returns an http1 that trusts s.
func (s *scripted) client(tb testing.TB) *http1 {
	tb.Helper()
	h := newHTTP1((&net.Dialer{}).DialContext, &tls.Config{RootCAs: s.roots})
	tb.Cleanup(h.close)
	return h
}

// get asks s with a client.
func (s *scripted) get(ctx context.Context, client http.RoundTripper, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.Addr().String()+path, nil)
	if err != nil {
		return nil, err
	}
	return client.RoundTrip(r)
}

// mustGet asks s, reads the body and returns it.
func (s *scripted) mustGet(tb testing.TB, client http.RoundTripper, path string) string {
	tb.Helper()
	res, err := s.get(tb.Context(), client, path)
	if err != nil {
		tb.Fatalf("GET %s: %v", path, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatalf("GET %s: body: %v", path, err)
	}
	_ = res.Body.Close()
	return string(body)
}

// answering serves requests with what answer returns for each, until that is empty.
func answering(answer func(*http.Request) string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			text := answer(request)
			if text == "" {
				return
			}
			_, _ = io.WriteString(conn, text)
		}
	}
}

const short = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestHTTP1UsesAConnectionAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer string
		want   int64 // connections for three requests
	}{
		"length":            {short, 1},
		"chunks":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1},
		"no content":        {"HTTP/1.1 204 No Content\r\n\r\n", 1},
		"not modified":      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 1},
		"informational":     {"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + short, 1},
		"closed":            {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 3},
		"HTTP/1.0":          {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 3},
		"followed by more":  {short + short, 3},
		"followed by bytes": {"HTTP/1.1 204 No Content\r\n\r\nX", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, answering(func(*http.Request) string { return test.answer }))
			client := s.client(t)
			for range 3 {
				s.mustGet(t, client, "/")
			}
			if got := s.conns.Load(); got != test.want {
				t.Errorf("%d connections for three requests, want %d", got, test.want)
			}
		})
	}
}

// What a server sends after its answer must not become the next answer, even if it comes late.
func TestHTTP1DropsConnectionWithUnsolicitedData(t *testing.T) {
	t.Parallel()
	sent := make(chan struct{}, 1)
	s := serve(t, func(conn net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(conn, short)
			time.Sleep(20 * time.Millisecond) // so that it is not in the same read
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			sent <- struct{}{}
		}
	})
	client := s.client(t)
	for range 3 {
		if got := s.mustGet(t, client, "/"); got != "ok" {
			t.Fatalf("body %q", got)
		}
		<-sent
	}
	if got := s.conns.Load(); got != 3 {
		t.Errorf("%d connections for three requests, want 3", got)
	}
}

// idle is how many connections of a client are idle.
func idle(client *http1) int {
	client.mu.Lock()
	defer client.mu.Unlock()
	return len(client.idle)
}

// idleConns leaves a client with n idle connections to s.
func (s *scripted) idleConns(tb testing.TB, client *http1, n int) {
	tb.Helper()
	var open []*http.Response
	for range n {
		res, err := s.get(tb.Context(), client, "/")
		if err != nil {
			tb.Fatal(err)
		}
		open = append(open, res)
	}
	for _, res := range open {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	if got := idle(client); got != n {
		tb.Fatalf("%d idle connections, want %d", got, n)
	}
}

// A request that the server does not answer, but closes the connection, is repeated on a new one. It
// must not close all idle ones, nor reach the server as often as there are.
func TestHTTP1RepeatsARequestOnce(t *testing.T) {
	t.Parallel()
	var ends atomic.Int64
	s := serve(t, answering(func(r *http.Request) string {
		if r.URL.Path == "/end" {
			ends.Add(1)
			return ""
		}
		return short
	}))
	client := s.client(t)
	s.idleConns(t, client, 4)
	if _, err := s.get(t.Context(), client, "/end"); !errors.Is(err, io.EOF) {
		t.Errorf("error %v, want EOF", err)
	}
	if got := ends.Load(); got != 2 {
		t.Errorf("the request was sent %d times, want 2", got)
	}
	if got := idle(client); got != 3 {
		t.Errorf("%d idle connections, want 3", got)
	}
}

// A client over HTTP/2 can send a host that HTTP/1.1 cannot carry.
func TestHTTP1SpendsNoConnectionOnWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(func(*http.Request) string { return short }))
	client := s.client(t)
	s.idleConns(t, client, 2)
	for name, change := range map[string]func(*http.Request){
		"host": func(r *http.Request) { r.Host = "xn--\u00e9" },
		"path": func(r *http.Request) { r.URL.Opaque = "/\x7f" },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Addr().String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		if _, err := client.RoundTrip(r); err == nil { //nolint:bodyclose // there is none
			t.Errorf("%s: it was sent", name)
		}
		if kept, conns := idle(client), s.conns.Load(); kept != 2 || conns != 2 {
			t.Errorf("%s: %d of %d connections are idle, want 2 of 2", name, kept, conns)
		}
	}
}

func TestHTTP1SpendsNoConnectionOnAnEndedRequest(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	s := serve(t, answering(func(*http.Request) string { requests.Add(1); return short }))
	client := s.client(t)
	s.idleConns(t, client, 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.get(ctx, client, "/"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	s.mustGet(t, client, "/")
	if kept, conns, got := idle(client), s.conns.Load(), requests.Load(); kept != 2 || conns != 2 || got != 3 {
		t.Errorf("%d of %d connections are idle after %d requests, want 2 of 2 after 3", kept, conns, got)
	}
}

func TestHTTP1UsesNoConnectionThatIsAboutToBeClosed(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(func(*http.Request) string { return short }))
	client := s.client(t)
	s.idleConns(t, client, 1)
	client.idle[0].since = time.Now().Add(-idleTimeout)
	s.mustGet(t, client, "/")
	if got := s.conns.Load(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

// A request that gives up does not end the making of a connection: the next one has it.
func TestHTTP1KeepsConnectionDialedForAnEndedRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(func(*http.Request) string { return short }))
	client := s.client(t)
	begun, goOn, dial := make(chan struct{}, 2), make(chan struct{}), client.dial
	client.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		begun <- struct{}{}
		select {
		case <-goOn:
			return dial(ctx, network, address)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := s.get(ctx, client, "/"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	close(goOn)
	for deadline := time.Now().Add(5 * time.Second); idle(client) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection was not kept")
		}
	}
	s.mustGet(t, client, "/")
	if got := s.conns.Load(); got != 1 {
		t.Errorf("%d connections, want 1", got)
	}
}

func TestHTTP1DoesNotRetryOnceTheAnswerBegan(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	s := serve(t, func(conn net.Conn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			requests.Add(1)
			if request.URL.Path == "/half" {
				_, _ = io.WriteString(conn, "HTTP/1.1 2")
				return
			}
			_, _ = io.WriteString(conn, short)
		}
	})
	client := s.client(t)
	s.mustGet(t, client, "/")
	if _, err := s.get(t.Context(), client, "/half"); err == nil {
		t.Error("half a status line is an answer")
	}
	if got := requests.Load(); got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
}

func TestHTTP1EndsWithItsContext(t *testing.T) {
	t.Parallel()
	arrived, gone := make(chan struct{}, 2), make(chan error, 2)
	s := serve(t, func(conn net.Conn, r *bufio.Reader) {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if request.URL.Path == "/body" {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
		}
		arrived <- struct{}{}
		_, err = r.ReadByte()
		gone <- err
	})
	client := s.client(t)
	for _, path := range []string{"/header", "/body"} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if path == "/header" {
			go func() {
				<-arrived
				cancel()
			}()
		}
		res, err := s.get(ctx, client, path)
		if path == "/body" {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			cancel()
			_, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want %v", path, err, context.Canceled)
		}
		if err := <-gone; err == nil {
			t.Errorf("%s: the server has got more than the request", path)
		}
		cancel()
	}
	if n := idle(client); n != 0 {
		t.Errorf("%d idle connections", n)
	}
}

func TestHTTP1BodyCanBeClosedDuringARead(t *testing.T) {
	t.Parallel()
	s := serve(t, func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
			_, _ = r.ReadByte()
		}
	})
	client := s.client(t)
	res, err := s.get(t.Context(), client, "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	go func() { _ = res.Body.Close() }()
	if _, err := res.Body.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a Read that Close ended returned %v", err)
	}
	if _, err := res.Body.Read(make([]byte, 1)); err == nil {
		t.Error("a Read after Close succeeded")
	}
}

func TestHTTP1BodyCannotBeReadAfterClose(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(func(*http.Request) string { return short }))
	res, err := s.get(t.Context(), s.client(t), "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if n, err := res.Body.Read(make([]byte, 2)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("Read returned %d, %v", n, err)
	}
}

func TestHTTP1BodyStaysAtItsEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(func(*http.Request) string { return short }))
	res, err := s.get(t.Context(), s.client(t), "/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if n, err := res.Body.Read(make([]byte, 2)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read returned %d, %v", n, err)
	}
	_ = res.Body.Close()
}

// A connection whose answer is wrong is closed, although the server keeps it open and what came
// was read to its last byte.
func TestHTTP1ForgetsAConnectionAfterAWrongAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
		"header": "HTTP/1.1 2000 OK\r\n\r\n",
		"switch": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan struct{})
			s := serve(t, func(conn net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					_, _ = io.WriteString(conn, answer)
					_, _ = r.ReadByte()
					close(gone)
				}
			})
			client := s.client(t)
			res, err := s.get(t.Context(), client, "/")
			if err == nil {
				_, err = io.ReadAll(res.Body)
			}
			if err == nil {
				t.Error("it is an answer")
			}
			select {
			case <-gone:
			case <-time.After(10 * time.Second):
				t.Error("the connection is open")
			}
			if got := idle(client); got != 0 {
				t.Errorf("%d idle connections", got)
			}
		})
	}
}

// A server that crashed closes its connections without TLS' close_notify.
func TestHTTP1DetectsClosedConnections(t *testing.T) {
	t.Parallel()
	s := serve(t, func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(conn, short)
			_ = conn.(*tls.Conn).NetConn().Close() //nolint:forcetypeassert // serve made it
		}
	})
	client := s.client(t)
	for range 3 {
		s.mustGet(t, client, "/")
	}
	for deadline := time.Now().Add(10 * time.Second); idle(client) != 0; time.Sleep(time.Millisecond) {
		if client.checkIdle(time.Now()); time.Now().After(deadline) {
			t.Fatal("a connection that the server has closed stayed")
		}
	}
}

// A connection is only for the host that it was made to, and that its certificate names.
func TestHTTP1KeepsHostsApart(t *testing.T) {
	t.Parallel()
	servers := map[string]*scripted{}
	for _, name := range []string{"example.com:443", "other.example.com:8443"} {
		servers[name] = serve(t, answering(func(*http.Request) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
		}))
	}
	servers["elsewhere.test:443"] = servers["example.com:443"]
	client := servers["example.com:443"].client(t)
	client.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		s := servers[address]
		if s == nil {
			return nil, fmt.Errorf("unknown address %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, s.Addr().String())
	}
	ask := func(host string) (string, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			return "", err
		}
		res, err := client.RoundTrip(r)
		if err != nil {
			return "", err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return string(body), err
	}
	for range 2 {
		for host, want := range map[string]string{"example.com": "example.com:443", "example.com:443": "example.com:443", "other.example.com:8443": "other.example.com:8443"} {
			if got, err := ask(host); got != want {
				t.Errorf("%s: answer of %q, %v", host, got, err)
			}
		}
	}
	if _, err := ask("elsewhere.test"); !errors.As(err, new(x509.HostnameError)) {
		t.Errorf("error %v, want a HostnameError", err)
	}
}

func TestHTTP1CarriesWhatMayBeRepeated(t *testing.T) {
	t.Parallel()
	client := newHTTP1(nil, &tls.Config{})
	for _, test := range []struct {
		method, url string
		body        io.Reader
		want        bool
	}{
		{http.MethodGet, "https://a/", nil, true},
		{http.MethodHead, "https://a/", http.NoBody, true},
		{http.MethodGet, "https://a/", strings.NewReader("x"), false},
		{http.MethodGet, "http://a/", nil, false},
		{http.MethodPost, "https://a/", nil, false},
		{http.MethodDelete, "https://a/", nil, false},
		{"get", "https://a/", nil, false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, test.url, test.body)
		if err != nil {
			t.Fatal(err)
		}
		if got := client.carries(r); got != test.want {
			t.Errorf("%s %s: %v", test.method, test.url, got)
		}
	}
}

// A connection that is being closed because its context ended must not become idle.
func TestHTTP1KeepsNoConnectionOfAnEndedContext(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(func(*http.Request) string { return short }))
	client := s.client(t)
	res, err := s.get(t.Context(), client, "/")
	if err != nil {
		t.Fatal(err)
	}
	body := res.Body.(*http1Body) //nolint:forcetypeassert // http1 made it
	stop := body.stop
	body.stop = func() bool { stop(); return false }
	if _, err := io.ReadAll(body); err != nil {
		t.Error(err)
	}
	if got := idle(client); got != 0 {
		t.Errorf("%d idle connections", got)
	}
}

func TestHTTP1ClosesIdleConnections(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 8)
	s := serve(t, func(conn net.Conn, r *bufio.Reader) {
		defer func() { ended <- struct{}{} }()
		answering(func(r *http.Request) string {
			if r.URL.Path == "/last" {
				go func() { _ = conn.Close() }()
			}
			return short
		})(conn, r)
	})
	client := s.client(t)
	s.mustGet(t, client, "/")
	if client.checkIdle(time.Now().Add(idleTimeout - 2*time.Second)); idle(client) != 1 {
		t.Error("a connection was closed too early")
	}
	if client.checkIdle(time.Now().Add(idleTimeout)); idle(client) != 0 {
		t.Error("a connection stayed too long")
	}
	<-ended

	s.mustGet(t, client, "/last")
	<-ended
	for deadline := time.Now().Add(10 * time.Second); idle(client) != 0; time.Sleep(time.Millisecond) {
		if client.checkIdle(time.Now()); time.Now().After(deadline) {
			t.Fatal("a connection that the server has closed stayed")
		}
	}

	res, err := s.get(t.Context(), client, "/")
	if err != nil {
		t.Fatal(err)
	}
	s.mustGet(t, client, "/")
	client.close()
	<-ended
	_, _ = io.ReadAll(res.Body)
	if <-ended; idle(client) != 0 {
		t.Error("a connection was kept after close")
	}
}

func TestHTTP1ChecksIdleConnectionsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := newHTTP1(nil, &tls.Config{})
		for range 2 {
			here, there := net.Pipe()
			client.putIdle(&http1Conn{client: client, address: "a:1", polled: &polledConn{Conn: here}})
			client.mu.Lock()
			client.idle[0].since = time.Now().Add(-idleTimeout)
			client.mu.Unlock()
			time.Sleep(checkIdleEvery)
			synctest.Wait()
			if got := idle(client); got != 0 {
				t.Errorf("%d idle connections", got)
			}
			if _, err := there.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("error %v, want EOF", err)
			}
		}
	})
}

func TestHTTP1KeepsABoundedNumberOfConnections(t *testing.T) {
	t.Parallel()
	client := newHTTP1(nil, &tls.Config{})
	var ends []net.Conn
	for range maxIdleConns + 2 {
		here, there := net.Pipe()
		ends = append(ends, there)
		client.putIdle(&http1Conn{client: client, address: "a:1", polled: &polledConn{Conn: here}})
	}
	if got := idle(client); got != maxIdleConns {
		t.Errorf("%d idle connections, want %d", got, maxIdleConns)
	}
	for i, end := range ends[:3] {
		_ = end.SetReadDeadline(time.Now())
		_, err := end.Read(make([]byte, 1))
		if closed := errors.Is(err, io.EOF); closed != (i < 2) {
			t.Errorf("connection %d: closed is %v", i, closed)
		}
	}
	client.close()
}

func TestHTTP1RefusesInvalidHeaders(t *testing.T) {
	t.Parallel()
	client := newHTTP1(func(context.Context, string, string) (net.Conn, error) {
		t.Error("it connects")
		return nil, net.ErrClosed
	}, &tls.Config{})
	for _, header := range []http.Header{
		{"A": {"b\r\nX-Remote-User: admin"}}, {"A": {"s3cret\x00"}}, {"A\n": {"b"}}, {"A b": {""}}, {"": {""}},
	} {
		r := httptest.NewRequest(http.MethodGet, "https://host/", nil)
		r.Header = header
		_, err := client.RoundTrip(r) //nolint:bodyclose // there is none
		if err == nil || !strings.Contains(err.Error(), "invalid header") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestHTTP1BoundsHeaders(t *testing.T) {
	t.Parallel()
	line := "A: " + strings.Repeat("a", 1<<16) + "\r\n"
	s := serve(t, func(conn net.Conn, r *bufio.Reader) {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		for err == nil {
			if request.URL.Path == "/informational" {
				_, err = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n"+line+"\r\n")
				continue
			}
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+line)
			for err == nil {
				_, err = io.WriteString(conn, line)
			}
		}
	})
	for _, path := range []string{"/", "/informational"} {
		if _, err := s.get(t.Context(), s.client(t), path); !errors.Is(err, errLongHeader) {
			t.Errorf("%s: error %v, want %v", path, err, errLongHeader)
		}
	}
}

// Each answer belongs to its request, also when requests are given up at any point.
func TestHTTP1NeverMixesAnswers(t *testing.T) {
	t.Parallel()
	s := serve(t, answering(func(r *http.Request) string {
		if r.URL.Query().Has("slow") {
			time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Millisecond))))
		}
		body := strings.Repeat(r.URL.Path, 1000)
		if r.URL.Query().Has("chunks") {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		}
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}))
	client := s.client(t)
	var workers sync.WaitGroup
	for worker := range 16 {
		workers.Go(func() {
			for i := range 60 {
				ctx, cancel := context.WithCancel(t.Context())
				path := fmt.Sprintf("/%d-%d", worker, i)
				query := []string{"", "?slow", "?chunks", "?slow&chunks"}[rand.IntN(4)]
				if rand.IntN(3) == 0 {
					time.AfterFunc(time.Duration(rand.Int64N(int64(2*time.Millisecond))), cancel)
				}
				res, err := s.get(ctx, client, path+query)
				if err == nil {
					var got []byte
					if rand.IntN(4) == 0 {
						got = make([]byte, 100)
						_, err = io.ReadFull(res.Body, got)
					} else {
						got, err = io.ReadAll(res.Body)
					}
					if err == nil && !strings.HasPrefix(string(got), path+"/") && !strings.HasPrefix(strings.Repeat(path, 1000), string(got)) {
						t.Errorf("%s got %.80q", path, got)
					}
					_ = res.Body.Close()
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", path, err)
				}
				cancel()
			}
		})
	}
	workers.Wait()
}

// FuzzHTTP1 compares what http1 and http.Transport make of an answer.
func FuzzHTTP1(f *testing.F) {
	for _, answer := range []string{
		short, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil the end", "HTTP/1.1 200 OK\r\n\r\nuntil the end",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2;x=y\r\nok\r\n0\r\nT: end\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + short, "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA:b\r\n c\r\nA: d\r\nbad line\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "HTTP/2.0 200 OK\r\n\r\n", "", "\r\n",
		"HTTP/1.1 099 ?\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
	} {
		f.Add([]byte(answer), false)
		f.Add([]byte(answer), true)
	}
	answers := make(chan []byte, 1)
	s := serve(f, func(conn net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = conn.Write(<-answers)
		}
	})
	theirs := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, DisableCompression: true, DisableKeepAlives: false}
	ours := newHTTP1((&net.Dialer{}).DialContext, &tls.Config{RootCAs: s.roots})
	type outcome struct {
		Status        string
		Proto         string
		Header        http.Header
		Length        int64
		Close         bool
		Encoding      []string
		Body          []byte
		Trailer       http.Header
		Failed, Short bool // there is no answer; its body has an error
		Informational []int
	}
	ask := func(client http.RoundTripper, method string, answer []byte) (o outcome) {
		answers <- answer
		r := httptest.NewRequest(method, "https://"+s.Addr().String()+"/", nil)
		r.RequestURI = ""
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
			o.Informational = append(o.Informational, code)
			return nil
		}}))
		res, err := client.RoundTrip(r)
		if err != nil {
			o.Failed = true
			return o
		}
		o.Body, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		o.Short = err != nil
		o.Status, o.Proto, o.Header, o.Length, o.Close, o.Encoding = res.Status, res.Proto, res.Header, res.ContentLength, res.Close, res.TransferEncoding
		if err == nil {
			o.Trailer = res.Trailer
		}
		return o
	}
	f.Fuzz(func(t *testing.T, answer []byte, head bool) {
		if bytes.Contains(answer, []byte(" 101")) {
			t.Skip("Transport lets the protocol be switched, and http1 never does")
		}
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		want, got := ask(theirs, method, answer), ask(ours, method, answer)
		if code, err := strconv.Atoi(want.Status[:min(3, len(want.Status))]); err == nil && code < 100 {
			want = outcome{Failed: true, Informational: want.Informational} // what net/http cannot pass on
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("answer %q:\n got %+v\nwant %+v", answer, got, want)
		}
		theirs.CloseIdleConnections()
		ours.checkIdle(time.Now().Add(idleTimeout))
	})
}
