package kubeconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"

	"frontproxy/e2e/harness"
	"frontproxy/internal/polltest"
)

// world is a server that says who called, by certificate and token, and a
// kubeconfig for it.
type world struct {
	t             *testing.T
	dir           string
	servers, next *harness.CA // of the server
	clients       *harness.CA
	server        *httptest.Server
	serving       atomic.Pointer[tls.Config]
	file          string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	for name, ca := range map[string]**harness.CA{"servers": &w.servers, "next": &w.next, "clients": &w.clients} {
		var err error
		if *ca, err = harness.NewCA(t.TempDir(), name); err != nil {
			t.Fatal(err)
		}
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = fmt.Fprintf(rw, "%s %s %s", name, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), r.Proto)
		if r.URL.Path == "/watch" {
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
			}
		}
	}))
	w.server.EnableHTTP2 = true
	w.server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return w.serving.Load(), nil }}
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.serveWith(w.servers)
	w.server.StartTLS()
	t.Cleanup(func() { w.server.CloseClientConnections(); w.server.Close() })
	w.file = filepath.Join(w.dir, "kubeconfig")
	w.write("ca.crt", w.servers.PEM)
	w.rotate("alice")
	w.config(w.server.URL, "")
	return w
}

// serveWith has new connections served with a certificate of ca.
func (w *world) serveWith(ca *harness.CA) {
	w.t.Helper()
	pair, err := ca.Serving(w.t.TempDir(), "server")
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.serving.Store(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}})
}

func (w *world) write(name string, content []byte) {
	w.t.Helper()
	next := filepath.Join(w.dir, name+".next")
	if err := os.WriteFile(next, content, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// rotate writes another client pair.
func (w *world) rotate(user string) {
	w.t.Helper()
	pair, err := w.clients.Client(w.t.TempDir(), user)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("tls.crt", pair.Cert)
	w.write("tls.key", pair.Key)
}

// config writes the kubeconfig; without a token it shows a certificate.
func (w *world) config(server, token string) {
	w.t.Helper()
	user := &clientcmdapi.AuthInfo{Token: token}
	if token == "" {
		user.ClientCertificate, user.ClientKey = filepath.Join(w.dir, "tls.crt"), filepath.Join(w.dir, "tls.key")
	}
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"x": {Server: server, CertificateAuthority: filepath.Join(w.dir, "ca.crt")}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"x": user},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "x", AuthInfo: "x"}},
		CurrentContext: "x",
	}, w.file+".next"); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(w.file+".next", w.file); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) follow() *DynamicConfig {
	w.t.Helper()
	f, err := NewDynamicConfig("some-kubeconfig", []string{w.file}, func() (*rest.Config, error) {
		return clientcmd.BuildConfigFromFlags("", w.file)
	}, nil, klog.Logger{})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	return f
}

// ask is what the server says.
func ask(c *rest.Config, path string) (string, error) {
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return "", err
	}
	resp, err := client.Get(c.Host + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	polltest.UntilState(t, what, func() (bool, string) {
		err := f()
		return err == nil, fmt.Sprint(err)
	})
}

func (w *world) await(f *DynamicConfig, want string) {
	w.t.Helper()
	eventually(w.t, want, func() error {
		if got, err := ask(f.Config(), "/"); err != nil || got != want {
			return fmt.Errorf("got %q, %w", got, err)
		}
		return nil
	})
}

func failing(t *testing.T, f *DynamicConfig, want string) {
	t.Helper()
	eventually(t, "LastError "+want, func() error {
		if err := f.LastError(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			return fmt.Errorf("it is %w", err)
		}
		return nil
	})
}

// TestDynamicConfigFollowsItsFiles: what is written is used, what cannot be used changes nothing,
// and clients made before all this go on.
func TestDynamicConfigFollowsItsFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.follow()
	w.await(f, "alice  HTTP/2.0")
	if got, err := ask(f.HTTP1(), "/"); err != nil || got != "alice  HTTP/1.1" {
		t.Errorf("HTTP1: %q, %v", got, err)
	}

	// A watch goes on as it began.
	old, err := rest.HTTPClientFor(f.Config())
	if err != nil {
		t.Fatal(err)
	}
	watch, err := old.Get(w.server.URL + "/watch")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, watch.Body)
		ended <- err
	}()
	t.Cleanup(func() { _ = watch.Body.Close() })

	w.rotate("bob") // first a certificate without its key
	w.await(f, "bob  HTTP/2.0")
	before := f.Get()

	w.write("tls.key", []byte("no key"))
	failing(t, f, "--some-kubeconfig: ")
	w.await(f, "bob  HTTP/2.0")
	w.rotate("carol")
	failing(t, f, "")
	w.await(f, "carol  HTTP/2.0")
	if f.Get() == before || !strings.Contains(string(f.Certificate()), "CERTIFICATE") {
		t.Error("what is in use is not what was read")
	}

	// As CAs are rotated: both, the server's next certificate, the next only.
	w.write("ca.crt", append(append([]byte(nil), w.servers.PEM...), w.next.PEM...))
	before = f.Get()
	eventually(t, "both CAs", func() error {
		if f.Get() == before {
			return errors.New("the CAs are still the old ones")
		}
		return nil
	})
	w.serveWith(w.next)
	w.write("ca.crt", w.next.PEM)
	eventually(t, "the next CA", func() error {
		if string(f.Get().config.CAData) != string(w.next.PEM) {
			return errors.New("both CAs are still in use")
		}
		return nil
	})
	w.await(f, "carol  HTTP/2.0")

	w.config(w.server.URL, "token-one")
	w.await(f, "nobody token-one HTTP/2.0")
	w.config(w.server.URL, "token-two")
	w.await(f, "nobody token-two HTTP/2.0")

	w.config("https://elsewhere.example", "token-three")
	failing(t, f, "restart")
	w.await(f, "nobody token-two HTTP/2.0")
	if err := os.Remove(w.file); err != nil {
		t.Fatal(err)
	}
	failing(t, f, "no such file")
	w.await(f, "nobody token-two HTTP/2.0")
	w.config(w.server.URL, "token-three")
	failing(t, f, "")
	w.await(f, "nobody token-three HTTP/2.0")

	select {
	case err := <-ended:
		t.Errorf("the watch has ended: %v", err)
	default:
	}
}

// TestUnchanged: what is written again as it was changes nothing.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.follow()
	w.await(f, "alice  HTTP/2.0")
	before := f.Get()
	for range 5 {
		w.config(w.server.URL, "")
		w.write("ca.crt", w.servers.PEM)
		f.Check(t.Context())
	}
	if f.Get() != before || f.LastError() != nil {
		t.Errorf("it was made anew: %v", f.LastError())
	}
}

func TestFollowFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, spoil := range map[string]func(){
		"no CA":     func() { w.write("ca.crt", []byte("nothing")) },
		"no pair":   func() { w.write("tls.key", []byte("nothing")) },
		"no config": func() { w.write("kubeconfig", []byte("]")) },
	} {
		spoil()
		if _, err := NewDynamicConfig("x", []string{w.file}, func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", w.file) }, nil, klog.Logger{}); err == nil {
			t.Errorf("%s: no error", name)
		}
		w.write("ca.crt", w.servers.PEM)
		w.rotate("alice")
		w.config(w.server.URL, "")
	}
}
