package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/internal/egress"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/routing/routingtest"
	"frontproxy/proxy/upstream/upstreamtest"
)

// lines are what a logger wrote.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) write(_, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, args)
}

func (l *lines) have(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		found := true
		for _, part := range parts {
			found = found && strings.Contains(line, part)
		}
		if found {
			return true
		}
	}
	return false
}

// mountHosts has the proxy of w know the hosts of list, and runs them. It returns
// the list's file and what is logged.
func (w *world) mountHosts(t *testing.T, list string) (file string, logged *lines) {
	t.Helper()
	logged = &lines{}
	file = w.write(t, "mount-hosts.yaml", []byte(strings.ReplaceAll(list, "DIR", w.dir)))
	hosts, err := routing.NewMountHosts(file, nil, funcr.New(logged.write, funcr.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	w.config.Routing.MountHosts = hosts
	w.decide = func(context.Context, authn.Request) *authn.Decision {
		return &authn.Decision{User: &user.DefaultInfo{Name: "bob", Groups: []string{"system:authenticated"}}, Status: 200, Authenticator: "token"}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- hosts.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return file, logged
}

// accept makes a server of a listener that nobody accepted from.
func (w *world) accept(t *testing.T, fd int, handler http.HandlerFunc) {
	t.Helper()
	file := os.NewFile(uintptr(fd), "listener")
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, "host")}}
	server.StartTLS()
	t.Cleanup(server.Close)
}

// TestListedMountHostIsTriedAgain: a listed host to which no connection could be
// made is tried again, whether it was listed from the start or later, and the
// log says both.
func TestListedMountHostIsTriedAgain(t *testing.T) {
	t.Parallel() // it mostly waits
	for name, later := range map[string]bool{"listed from the start": false, "listed later": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.shard(t, "shard-1", false, nil)
			fd, address := upstreamtest.Full(t)
			w.index["root:away"] = index.Target{Mount: parse(t, "https://"+address)}
			entry := "- url: https://" + address + routingtest.TLSEntry
			first := entry
			if later {
				first = "[]"
			}
			file, logged := w.mountHosts(t, first)
			f := w.front(t)
			if later {
				if err := os.WriteFile(file, []byte(strings.ReplaceAll(entry, "DIR", w.dir)), 0o600); err != nil {
					t.Fatal(err)
				}
				until(t, "the host is listed", func() bool { return w.config.Routing.MountHosts.Get() != nil })
			}
			c := f.client(t, false)
			if res, body := do(t, c, "GET", f.URL+"/clusters/root:away/api", nil); res.StatusCode != 503 {
				t.Fatalf("nobody accepts: %d %s", res.StatusCode, body)
			}
			if !logged.have("Cannot connect to a backend", address) {
				t.Errorf("the log does not say that the host is not tried any more: %q", logged.all)
			}
			w.accept(t, fd, func(http.ResponseWriter, *http.Request) {})
			until(t, "the host is reached again", func() bool {
				res, _ := do(t, c, "GET", f.URL+"/clusters/root:away/api", nil)
				return res.StatusCode == 200
			})
			until(t, "the log says that it answers again", func() bool { return logged.have("A backend responds again", address) })
		})
	}
}

// answers are what a mounted host may say, by path.
func answers(w http.ResponseWriter, r *http.Request) {
	hints := func(n, size int) {
		w.Header().Set("X-Hint", strings.Repeat("x", size))
		for range n {
			w.WriteHeader(http.StatusEarlyHints)
		}
	}
	many := func(n int) {
		for i := range n {
			w.Header().Set(fmt.Sprintf("X-Field-%d", i), "")
		}
	}
	switch r.URL.Path {
	case "/large":
		w.Header().Set("X-Large", strings.Repeat("x", 9<<20))
	case "/many":
		many(2 * egress.MaxHeaderFields)
	case "/hints":
		hints(1000, 10)
	case "/large-hints":
		hints(egress.MaxInformational-1, egress.MaxHeaderBytes/4)
	case "/within":
		hints(4, egress.MaxHeaderBytes/8)
		many(egress.MaxHeaderFields / 2)
		w.Header().Set("X-Large", strings.Repeat("x", egress.MaxHeaderBytes/2))
	}
}

// TestMountHostsAnswersAreLimited: what a mounted host sends before a body has
// limits, whether the host is listed or not.
func TestMountHostsAnswersAreLimited(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		for _, how := range []string{"listed", "listed with a certificate", "not listed"} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", how, http2), func(t *testing.T) {
				w := newWorld(t)
				w.shard(t, "shard-1", false, nil)
				host := httptest.NewUnstartedServer(http.HandlerFunc(answers))
				host.EnableHTTP2 = http2
				host.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, "host")}}
				host.Config.ErrorLog = log.New(io.Discard, "", 0)
				host.StartTLS()
				t.Cleanup(host.Close)
				w.index["root:away"] = index.Target{Mount: parse(t, host.URL)}
				switch how {
				case "listed":
					w.mountHosts(t, "- url: "+host.URL+"\n  backend_server_ca: DIR/ca.crt")
				case "listed with a certificate":
					w.mountHosts(t, "- url: "+host.URL+routingtest.TLSEntry)
				default:
					w.config.Routing.MountTLS = &tls.Config{RootCAs: w.serving.Pool}
					w.config.Routing.MountDial = (&net.Dialer{}).DialContext
				}
				f := w.front(t)
				c := f.client(t, false)
				c.Transport.(*http.Transport).MaxResponseHeaderBytes = 32 << 20
				for path, want := range map[string]int{"large": 503, "many": 503, "hints": 503, "large-hints": 503, "within": 200} {
					hints := 0
					ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
						hints++
						return nil
					}})
					// A PATCH takes a connection that is shared, where the host has HTTP/2.
					for _, method := range []string{http.MethodGet, http.MethodPatch} {
						hints = 0
						r, err := http.NewRequestWithContext(ctx, method, f.URL+"/clusters/root:away/"+path, nil)
						if err != nil {
							t.Fatal(err)
						}
						res, err := c.Do(r)
						if err != nil {
							t.Fatal(err)
						}
						_ = res.Body.Close()
						if res.StatusCode != want || hints > egress.MaxInformational || path == "within" && hints != 4 {
							t.Errorf("%s %s: %d after %d informational answers, want %d", method, path, res.StatusCode, hints, want)
						}
					}
				}
			})
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
