package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"frontproxy/authn"
	"frontproxy/internal/recordstest"
)

// refusing is a proxy that admits nobody.
func refusing(t *testing.T) *world {
	w := newWorld(t)
	w.shard(t, "shard-1", true, nil)
	w.decide = func(context.Context, authn.Request) *authn.Decision { return &authn.Decision{Status: 401} }
	return w
}

// keeps returns what each connection adds to the heap, beyond what is charged for it, after open has
// made it.
func (f *front) keeps(t *testing.T, conns int64, open func()) int64 {
	t.Helper()
	open()
	charged := &f.listeners.connections.heads.used
	before, paid := heap(), charged.Load()
	for range conns {
		open()
	}
	time.Sleep(200 * time.Millisecond) // what the last one sent is read
	each, paid := (heap()-before)/conns, (charged.Load()-paid)/conns
	t.Logf("a connection keeps %d bytes and is charged %d", each, paid)
	return each - paid
}

// mostKept is what a connection may keep, the test's own end of it included.
const mostKept = 128 << 10

// TestFrameBuffers: a frame of which only the header has come has a buffer.
func TestFrameBuffers(t *testing.T) {
	f := refusing(t).front(t)
	if kept := f.keeps(t, 40, func() {
		conn, framer := f.http2(t)
		largest := uint32(16 << 10)
		await(t, framer, "the settings", func(frame http2.Frame) bool {
			settings, ok := frame.(*http2.SettingsFrame)
			if !ok {
				return false
			}
			if v, ok := settings.Value(http2.SettingMaxFrameSize); ok {
				largest = v
			}
			return true
		})
		header := binary.BigEndian.AppendUint32(nil, largest<<8|uint32(http2.FrameHeaders))
		if _, err := conn.Write(append(header, 0, 0, 0, 0, 1)); err != nil {
			t.Fatal(err)
		}
	}); kept > mostKept {
		t.Errorf("a connection keeps %d bytes", kept)
	}
}

// TestLargeHeadsAreKept: HPACK's decoder keeps a buffer that has grown.
func TestLargeHeadsAreKept(t *testing.T) {
	w := refusing(t)
	w.config.Memory = 4 << 30
	f := w.front(t)
	value := strings.Repeat("~", 900<<10)
	if kept := f.keeps(t, 10, func() {
		_, framer := f.http2(t)
		writeHeaders(t, framer, 1, true, asks("GET", "/clusters/root:ws/api", "x", value))
		await(t, framer, "the answer", func(frame http2.Frame) bool {
			answer, ok := frame.(*http2.MetaHeadersFrame)
			return ok && answer.PseudoValue("status") == "401"
		})
	}); kept > mostKept {
		t.Errorf("a connection keeps %d bytes that it is not charged for", kept)
	}
}

// TestHeadsAreNotKeptForBodies: net/http waits for the body of a request that has been answered.
func TestHeadsAreNotKeptForBodies(t *testing.T) {
	for _, path := range []string{"/clusters/root:ws/api", "/livez"} {
		f := refusing(t).front(t)
		value := strings.Repeat("~", 900<<10)
		if kept := f.keeps(t, 10, func() {
			conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			_, _ = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nX: "+value+"\r\n\r\n")
			time.Sleep(50 * time.Millisecond)
			until(t, "the head is complete", func() bool { return f.listeners.connections.heads.used.Load() == 0 })
		}); kept > mostKept {
			t.Errorf("%s: a connection keeps %d bytes", path, kept)
		}
	}
}

// strangersCertificate is signed by itself and has as many short names as size bytes hold.
func strangersCertificate(t *testing.T, size int) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"}, NotAfter: time.Now().Add(time.Hour)}
	for n := range size / 4 {
		template.DNSNames = append(template.DNSNames, string([]byte{'a' + byte(n%26), 'a' + byte(n/26%26)}))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestClientCertificatesAreKept: a connection keeps its client's certificates, whoever signed them, and what
// comes with them.
func TestClientCertificatesAreKept(t *testing.T) {
	large, stapled := strangersCertificate(t, 100<<10), strangersCertificate(t, 100)
	stapled.OCSPStaple = bytes.Repeat([]byte("x"), 60<<10)
	t.Run("large", func(t *testing.T) { keepsCertificate(t, &large) })
	t.Run("with a large staple", func(t *testing.T) { keepsCertificate(t, &stapled) })
	alternativeNames, usages := asn1.ObjectIdentifier{2, 5, 29, 17}, asn1.ObjectIdentifier{2, 5, 29, 37}
	for _, size := range []int{8 << 10, 20 << 10} {
		for name, certificate := range map[string]tls.Certificate{
			"empty URIs":      certificateWith(t, alternativeNames, size, "\x86\x00"),
			"empty addresses": certificateWith(t, alternativeNames, size, "\x81\x00"),
			"unknown usages":  certificateWith(t, usages, size, "\x06\x01\x2a"),
			"timestamps":      timestamped(certificateWith(t, alternativeNames, 0, ""), size),
			"many":            chainOf(certificateWith(t, alternativeNames, 0, ""), size),
		} {
			t.Run(fmt.Sprintf("%s, %d KiB", name, size>>10), func(t *testing.T) { keepsCertificate(t, &certificate) })
		}
	}
}

// certificateWith has an extension that repeats an item in size bytes.
func certificateWith(t *testing.T, id asn1.ObjectIdentifier, size int, item string) tls.Certificate {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	if size > 0 {
		value, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte(strings.Repeat(item, size/len(item)))})
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = []pkix.Extension{{Id: id, Value: value}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// timestamped returns c with as many timestamps as size bytes hold.
func timestamped(c tls.Certificate, size int) tls.Certificate {
	c.SignedCertificateTimestamps = slices.Repeat([][]byte{{1}}, size/3)
	return c
}

// chainOf repeats a certificate in size bytes.
func chainOf(c tls.Certificate, size int) tls.Certificate {
	c.Certificate = slices.Repeat(c.Certificate, size/len(c.Certificate[0]))
	return c
}

func keepsCertificate(t *testing.T, certificate *tls.Certificate) {
	w := refusing(t)
	w.config.Memory = 4 << 30
	cas, err := dynamiccertificates.NewStaticCAContent("clients", w.clients.PEM)
	if err != nil {
		t.Fatal(err)
	}
	w.config.Server.Serving = &genericapiserver.SecureServingInfo{ClientCA: cas}
	f := w.front(t)
	for _, proto := range []string{"h2", "http/1.1", "no request"} {
		if kept := f.keeps(t, 10, func() {
			conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, NextProtos: []string{proto, "http/1.1"}, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(stuck))
			switch proto {
			case "no request":
				return
			case "h2":
				_, _ = io.WriteString(conn, http2.ClientPreface)
				framer := http2.NewFramer(conn, conn)
				if err := framer.WriteSettings(); err != nil {
					t.Fatal(err)
				}
				if _, err := framer.ReadFrame(); err != nil {
					t.Fatal(err)
				}
				return
			}
			_, _ = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
			if _, err := conn.Read(make([]byte, 1<<10)); err != nil {
				t.Fatal(err)
			}
		}); kept > mostKept {
			t.Errorf("%s: a connection keeps %d bytes that it is not charged for", proto, kept)
		}
	}
}

// isReset waits until stream 1 is reset or the connection closed, for within.
func isReset(conn net.Conn, framer *http2.Framer, within time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			timeout, ok := err.(net.Error) //nolint:errorlint // as it is
			return !ok || !timeout.Timeout()
		}
		if _, ok := frame.(*http2.RSTStreamFrame); ok {
			return true
		}
	}
}

// TestTrailersAreKept: a stream keeps its request's trailers until its client reads the answer.
func TestTrailersAreKept(t *testing.T) {
	f := refusing(t).front(t)
	const streams = 100
	most := bytes.Repeat([]byte{0x80 | 21}, maxHTTP2Trailers) // "age" without a value
	if kept := f.keeps(t, 3, func() {
		_, framer := f.http2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		for n := range uint32(streams) {
			writeHeaders(t, framer, 2*n+1, false, asks("POST", "/clusters/root:ws/api", "trailer", "age"))
			if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*n + 1, BlockFragment: most, EndStream: true, EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
		}
		answers := 0
		await(t, framer, "all answers", func(frame http2.Frame) bool {
			if _, ok := frame.(*http2.MetaHeadersFrame); ok {
				answers++
			}
			return answers == streams
		})
	}); kept > streams*32<<10 {
		t.Errorf("a stream keeps %d bytes", kept/streams)
	}
}

// TestTrailersAreBounded: over HTTP/1.1, net/http reads up to 4 KiB of them.
func TestTrailersAreBounded(t *testing.T) {
	t.Parallel()
	f := refusing(t).front(t)
	age := []byte{0x80 | 21} // without a value
	for name, tt := range map[string]struct {
		announced string
		trailers  int
		reset     bool
	}{
		"small":          {"age", 10, false},
		"large":          {"age", 16 << 10, true},
		"many announced": {strings.Join(manyNames(1000), ","), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			conn, framer := f.http2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			writeHeaders(t, framer, 1, false, asks("POST", "/clusters/root:ws/api", "trailer", tt.announced))
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: bytes.Repeat(age, tt.trailers), EndStream: true, EndHeaders: true})
			if got := isReset(conn, framer, time.Second); got != tt.reset {
				t.Errorf("reset: %v", got)
			}
		})
	}
}

func manyNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("x", i))
	}
	return names
}

// TestAnswersOfNetHTTPAreBounded: net/http answers some requests by itself, and nobody is charged for
// these. If the client grants no window for the answer, the stream is reset.
func TestAnswersOfNetHTTPAreBounded(t *testing.T) {
	t.Parallel()
	w := refusing(t)
	f := w.front(t)
	for name, fields := range map[string][]field{
		"400": asks("GET", "/clusters/root:ws/api", "connection", "close"),
		"431": asks("GET", "/clusters/root:ws/api", "x", strings.Repeat("~", maxHeaderBytes/2+1<<10), "y", strings.Repeat("~", maxHeaderBytes/2+1<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			conn, framer := f.http2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			writeHeaders(t, framer, 1, true, fields)
			await(t, framer, "the answer's header", func(frame http2.Frame) bool {
				answer, ok := frame.(*http2.MetaHeadersFrame)
				return ok && answer.PseudoValue("status") == name
			})
			if !isReset(conn, framer, ownAnswerTimeout+10*time.Second) {
				t.Error("the stream is still open")
			}
		})
	}
}

// TestSlowAnswers: an answer over HTTP/2 may begin late.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, _ *http.Request) {
		time.Sleep(ownAnswerTimeout + time.Second)
		_, _ = io.WriteString(rw, "late")
	})
	f := w.front(t)
	if res, body := do(t, f.client(t, true), http.MethodGet, f.URL+"/clusters/root:ws/api", nil); string(body) != "late" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// TestLargeCertificatesAreSentAgain: a client with large certificates gets no ticket, with which its next
// hello would be too large; others get one.
func TestLargeCertificatesAreSentAgain(t *testing.T) {
	t.Parallel()
	w := refusing(t)
	cas, err := dynamiccertificates.NewStaticCAContent("clients", w.clients.PEM)
	if err != nil {
		t.Fatal(err)
	}
	w.config.Server.Serving = &genericapiserver.SecureServingInfo{ClientCA: cas}
	f := w.front(t)
	for size, resumes := range map[int]bool{1 << 10: true, 50 << 10: false} {
		certificate := strangersCertificate(t, size)
		c := f.client(t, false)
		config := c.Transport.(*http.Transport).TLSClientConfig
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
		for n := range 2 {
			res, _ := do(t, c, http.MethodGet, f.URL+"/livez", nil)
			if got := res.TLS.DidResume; got != (resumes && n > 0) {
				t.Errorf("%d bytes of certificates, connection %d: resumed: %v", size, n, got)
			}
			c.CloseIdleConnections()
		}
	}
}

// TestLargeHellosAreRefused: TLS keeps the buffer for as long as the connection is open.
func TestLargeHellosAreRefused(t *testing.T) {
	f := refusing(t).front(t)
	for size, served := range map[int]bool{10: true, 20 << 10: false} {
		var protocols []string
		for n := range size / 200 {
			protocols = append(protocols, fmt.Sprintf("%0200d", n))
		}
		conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, NextProtos: append(protocols, "http/1.1")})
		if (err == nil) != served {
			t.Errorf("a hello of %d bytes: %v", size, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// newRecords dials and shakes hands. The tls.Conn reads what the proxy sends.
func (f *front) newRecords(t *testing.T, proto string) (*recordstest.Records, *tls.Conn) {
	t.Helper()
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(stuck))
	var log strings.Builder
	conn := tls.Client(raw, &tls.Config{RootCAs: f.root, ServerName: "127.0.0.1", NextProtos: []string{proto}, KeyLogWriter: &log, MinVersion: tls.VersionTLS13})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if conn.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("this machine prefers another cipher")
	}
	r, err := recordstest.New(raw, log.String(), recordstest.Client)
	if err != nil {
		t.Fatal(err)
	}
	return r, conn
}

// TestUnfinishedTLSMessages: TLS keeps what has come of a message that is not HTTP, of up to 256 KiB.
func TestUnfinishedTLSMessages(t *testing.T) {
	t.Parallel()
	f := refusing(t).front(t)
	r, conn := f.newRecords(t, "h2")
	var begin bytes.Buffer
	begin.WriteString(http2.ClientPreface)
	if err := http2.NewFramer(&begin, nil).WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(recordstest.Data, begin.Bytes()); err != nil {
		t.Fatal(err)
	}
	unfinished := append([]byte{11, 3, 0xff, 0xff}, make([]byte, 2*maxRecords)...) // a client's certificates
	_ = r.Write(recordstest.Handshake, unfinished)                                 // it may be cut off
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

// TestUnfinishedTLSMessagesOverHTTP1: what comes while a request is under way is no part of a head, which would
// be charged for.
func TestUnfinishedTLSMessagesOverHTTP1(t *testing.T) {
	for name, tt := range map[string]struct{ request, path, after string }{
		"idle":            {"GET", "/clusters/root:ws/api/v1/pods", "Content-Length: 0\r\n\r\n"},
		"idle after body": {"POST", "/clusters/root:ws/api/v1/pods", "Content-Length: 1\r\n\r\nx"},
		"watch":           {"GET", "/clusters/root:ws/api/v1/pods?watch=1", "\r\n"},
		"tunnel":          {"GET", "/clusters/root:ws/api/v1/namespaces/default/pods/p/exec", "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.shard(t, "shard-1", false, func(rw http.ResponseWriter, r *http.Request) {
				switch {
				case r.Header.Get("Upgrade") != "":
					conn, _, err := http.NewResponseController(rw).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
					_, _ = io.Copy(io.Discard, conn)
					_ = conn.Close()
				case r.URL.RawQuery != "":
					_ = http.NewResponseController(rw).Flush()
					<-r.Context().Done()
				default:
					_, _ = io.Copy(io.Discard, r.Body)
					time.Sleep(100 * time.Millisecond)
				}
			})
			f := w.front(t)
			unfinished := append([]byte{11, 3, 0xff, 0xff}, make([]byte, 250<<10)...)
			if kept := f.keeps(t, 10, func() {
				r, conn := f.newRecords(t, "http/1.1")
				_ = r.Write(recordstest.Data, []byte(tt.request+" "+tt.path+" HTTP/1.1\r\nHost: h\r\n"+tt.after))
				time.Sleep(50 * time.Millisecond)
				_ = r.Write(recordstest.Handshake, unfinished) // it may be cut off
				_, _ = conn.Read(make([]byte, 1<<10))
			}); kept > mostKept {
				t.Errorf("a connection keeps %d bytes", kept)
			}
		})
	}
}
