package egress

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"frontproxy/internal/recordstest"
)

// begin reads a request and writes the beginning of its response. It returns what makes a body's next part.
func begin(r *recordstest.Records, conn *tls.Conn, proto string) (func(string) []byte, error) {
	if proto == "http/1.1" {
		if err := readUntil(conn, "\r\n\r\n"); err != nil {
			return nil, err
		}
		return func(part string) []byte { return []byte(part) }, r.Write(recordstest.Data, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	}
	if err := readUntil(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	framer := http2.NewFramer(&buffer, conn)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return nil, err
		}
		if frame.Header().Type == http2.FrameHeaders {
			break
		}
	}
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true}) // :status 200
	err := r.Write(recordstest.Data, buffer.Bytes())
	return func(part string) []byte {
		buffer.Reset()
		_ = framer.WriteData(1, false, []byte(part))
		return buffer.Bytes()
	}, err
}

func readUntil(conn io.Reader, end string) error {
	var got []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(got), end); got = append(got, one...) {
		if _, err := io.ReadFull(conn, one); err != nil {
			return err
		}
	}
	return nil
}

// recordsServer begins a response to the first request of each connection, and leaves the rest to then.
func recordsServer(t *testing.T, proto string, then func(r *recordstest.Records, part func(string) []byte) error) (url string, roots *x509.CertPool) {
	t.Helper()
	own := certificate(t, 1, 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	serve := func(raw net.Conn) {
		defer func() { <-t.Context().Done(); _ = raw.Close() }()
		var log strings.Builder
		conn := tls.Server(raw, &tls.Config{
			Certificates: []tls.Certificate{own}, NextProtos: []string{proto}, KeyLogWriter: &log, SessionTicketsDisabled: true, MinVersion: tls.VersionTLS13,
		})
		if err := conn.Handshake(); err != nil {
			return // the test's client says so
		}
		r, err := recordstest.New(raw, log.String(), recordstest.Server)
		if err != nil {
			t.Error(err)
			return
		}
		part, err := begin(r, conn, proto)
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(io.Discard, raw) }() // the client's updates of its key, above all
		if err := then(r, part); err != nil {
			t.Log(err) // it may be cut off
		}
	}
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go serve(raw)
		}
	}()
	roots = rootsOf(t, own)
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if conn.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("this machine prefers another cipher")
	}
	return "https://" + l.Addr().String(), roots
}

func rootsOf(t *testing.T, own tls.Certificate) *x509.CertPool {
	t.Helper()
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return roots
}

func limited(t *testing.T, roots *x509.CertPool, proto string) *http.Transport {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	transport.Protocols.SetHTTP2(proto == "h2")
	LimitTransport(transport)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func get(t *testing.T, transport http.RoundTripper, url string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

var protocols = []string{"http/1.1", "h2"}

// TestUnfinishedTLSMessages: TLS keeps what has come of a message that is not HTTP, of up to 256 KiB.
func TestUnfinishedTLSMessages(t *testing.T) {
	const conns = 20
	for _, proto := range protocols {
		for name, tt := range map[string]struct {
			size int
			most int64 // may be kept, the test's own end included
			ends bool
		}{"none": {0, 64 << 10, false}, "most": {maxRecords - 1<<10, 192 << 10, false}, "more": {250 << 10, 32 << 10, true}} {
			t.Run(proto+" "+name, func(t *testing.T) {
				unfinished := append([]byte{11, 3, 0xff, 0xff}, make([]byte, tt.size)...) // certificates
				url, roots := recordsServer(t, proto, func(r *recordstest.Records, part func(string) []byte) error {
					return errors.Join(r.Write(recordstest.Data, part("x")), r.Write(recordstest.Handshake, unfinished[:4]), r.Write(recordstest.Handshake, unfinished[4:]))
				})
				ended := make(chan error, conns+1)
				open := func() {
					res := get(t, limited(t, roots, proto), url)
					go func() {
						_, err := io.Copy(io.Discard, res.Body)
						ended <- err
					}()
					time.Sleep(20 * time.Millisecond)
				}
				open()
				before := heap()
				for range conns {
					open()
				}
				time.Sleep(200 * time.Millisecond) // what the last one was sent is read
				kept := (heap() - before) / conns
				t.Logf("a connection keeps %d bytes", kept)
				if kept > tt.most {
					t.Errorf("that is more than %d", tt.most)
				}
				if !tt.ends {
					if len(ended) > 0 {
						t.Errorf("a body ended: %v", <-ended)
					}
					return
				}
				for range cap(ended) {
					select {
					case err := <-ended:
						if !errors.Is(err, ErrAnswer) {
							t.Errorf("a body ended: %v", err)
						}
					case <-time.After(5 * time.Second):
						t.Fatal("a connection is still open")
					}
				}
			})
		}
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestClosedConnections: net/http keeps closed HTTP/2 connections for a while, but not with what the server sent.
func TestClosedConnections(t *testing.T) {
	first := certificate(t, 1, 0)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		own := first
		for range 25 { // others for each connection: TLS shares equal ones
			own.Certificate = append(own.Certificate[:len(own.Certificate):len(own.Certificate)], certificate(t, 100, 0).Certificate[0])
		}
		return &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}, nil
	}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := limited(t, rootsOf(t, first), "h2")
	open := func() {
		res := get(t, transport, server.URL)
		_, _ = io.Copy(io.Discard, res.Body) // the handler cuts it off
		server.CloseClientConnections()
		_ = res.Body.Close()
		time.Sleep(10 * time.Millisecond) // a closed connection is not used again
	}
	open()
	before := heap()
	const conns = 20
	for range conns {
		open()
	}
	if kept := (heap() - before) / conns; kept > 64<<10 {
		t.Errorf("a closed connection keeps %d bytes", kept)
	}
}

// TestKeyUpdates: TLS's own messages are no offence if HTTP comes in between.
func TestKeyUpdates(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			const updates = 4000
			url, roots := recordsServer(t, proto, func(r *recordstest.Records, part func(string) []byte) error {
				for range updates {
					if err := errors.Join(r.UpdateKey(), r.Write(recordstest.Data, part("x"))); err != nil {
						return err
					}
				}
				return nil
			})
			res := get(t, limited(t, roots, proto), url)
			if _, err := io.ReadFull(res.Body, make([]byte, updates)); err != nil {
				t.Error(err)
			}
			_ = res.Body.Close()
		})
	}
}

// TestUsualServers: nothing else is different with the limits.
func TestUsualServers(t *testing.T) {
	for _, proto := range protocols {
		for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
			t.Run(proto+" "+name, func(t *testing.T) {
				var opened atomic.Int64
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.TLS.Version != version || r.TLS.NegotiatedProtocol != proto && proto == "h2" {
						t.Errorf("%x, %q", r.TLS.Version, r.TLS.NegotiatedProtocol)
					}
					_ = http.NewResponseController(w).EnableFullDuplex()
					_, _ = io.Copy(w, r.Body)
				}))
				server.TLS = &tls.Config{MaxVersion: version}
				server.EnableHTTP2 = proto == "h2"
				server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateNew {
						opened.Add(1)
					}
				}
				server.StartTLS()
				t.Cleanup(server.Close)
				roots := x509.NewCertPool()
				roots.AddCert(server.Certificate())
				transport := limited(t, roots, "h2") // a server need not speak it
				body := bytes.Repeat([]byte("0123456789abcdef"), 256<<10)
				echo := func() {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					res, err := transport.RoundTrip(r)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if err != nil || !bytes.Equal(got, body) {
						t.Errorf("%d bytes; %v", len(got), err)
					}
				}
				echo()
				echo()
				if n := opened.Load(); n != 1 {
					t.Errorf("%d connections for two requests", n)
				}
				if proto != "h2" {
					return
				}
				var all sync.WaitGroup
				for range 4 {
					all.Go(echo)
				}
				all.Wait()
				if n := opened.Load(); n != 1 {
					t.Errorf("%d connections for requests at once", n)
				}
			})
		}
	}
}

// TestUpgrades: both ways of a tunnel may be closed on their own.
func TestUpgrades(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
		_ = conn.Close()
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	res, err := limited(t, roots, "http/1.1").RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	tunnel, ok := res.Body.(interface {
		io.ReadWriter
		CloseWrite() error
	})
	if !ok {
		t.Fatalf("the body is a %T", res.Body)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	go func() {
		_, err := tunnel.Write(sent)
		if err := errors.Join(err, tunnel.CloseWrite()); err != nil {
			t.Error(err)
		}
	}()
	if got, err := io.ReadAll(tunnel); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes; %v", len(got), err)
	}
}

// TestHandshakeErrors: operators see the errors that net/http has for certificates.
func TestHandshakeErrors(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	fails := func(transport http.RoundTripper, url string) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(r)
		if err == nil {
			_ = res.Body.Close()
			t.Fatalf("%s: no error", url)
		}
		return err
	}
	otherName := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	for name, tt := range map[string]struct {
		url   string
		roots *x509.CertPool
		want  any
	}{
		"unknown authority": {server.URL, x509.NewCertPool(), new(x509.UnknownAuthorityError)},
		"another name":      {otherName, roots, new(x509.HostnameError)},
	} {
		t.Run(name, func(t *testing.T) {
			usual := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: tt.roots}}
			got, want := fails(limited(t, tt.roots, "h2"), tt.url), fails(usual, tt.url)
			if got.Error() != want.Error() || !errors.As(got, tt.want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
	t.Run("silence", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		transport := limited(t, roots, "h2")
		transport.TLSHandshakeTimeout = 50 * time.Millisecond
		var network net.Error
		if err := fails(transport, "https://"+l.Addr().String()); !errors.As(err, &network) || !network.Timeout() || !strings.Contains(err.Error(), "TLS handshake") {
			t.Errorf("%v", err)
		}
	})
}
