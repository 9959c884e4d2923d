package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"frontproxy/authn/token"
)

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/watch":
		fmt.Fprint(w, "{}\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "/large":
		_, _ = w.Write(make([]byte, 3<<20))
	default:
		n, _ := io.Copy(io.Discard, r.Body)
		if r.Header.Get("Authorization") != "Bearer good" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprintf(w, "%s %d %s", r.Method, n, strings.Repeat("x", len(r.URL.RawQuery)))
	}
}

func TestClients(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	address := server.Listener.Addr().String()
	for name, dial := range map[string]func() (client, func(), error){
		"HTTP/1.1": func() (client, func(), error) {
			c, err := dialH1(address, &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}})
			return c, c.close, err
		},
		"HTTP/2": func() (client, func(), error) {
			c, err := dialH2(address, &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
			return c, c.close, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, end, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer end()
			for _, a := range []struct {
				request request
				want    answer
			}{
				{request{method: "GET", path: "/", token: "good"}, answer{200, 6}},
				{request{method: "GET", path: "/", query: "abc", token: "good"}, answer{200, 9}},
				{request{method: "GET", path: "/", token: "bad"}, answer{401, 6}},
				{request{method: "GET", path: "/"}, answer{401, 6}},
				{request{method: "GET", path: "/large"}, answer{200, 3 << 20}},
				{request{method: "GET", path: "/", token: "good"}, answer{200, 6}},
			} {
				got, err := c.do(&a.request)
				if err != nil || got != a.want {
					t.Errorf("%+v answers %+v, %v, want %+v", a.request, got, err, a.want)
				}
			}
			for range 2 {
				got, err := c.do(&request{method: "POST", path: "/", token: "good", body: 3_000_000})
				if err != nil || got != (answer{200, 13}) {
					t.Errorf("an upload answers %+v, %v", got, err)
				}
			}
			got, err := c.do(&request{method: "GET", path: "/watch", watch: true})
			if err != nil || got.code != 200 {
				t.Errorf("a watch answers %+v, %v", got, err)
			}
		})
	}
}

// dialServer connects to a server of HTTP/2.
func dialServer(t *testing.T, handler http.HandlerFunc) *h2Conn {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	c, err := dialH2(server.Listener.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// TestLengthOfBody: an upload announces its length, as clients do that know it, unless it must not.
func TestLengthOfBody(t *testing.T) {
	lengths := make(chan int64, 1)
	c := dialServer(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server resets the stream
		lengths <- r.ContentLength
	})
	for _, r := range []request{{method: "POST", path: "/", body: 3}, {method: "POST", path: "/", body: 3, unsized: true}, {method: "GET", path: "/"}} {
		if _, err := c.do(&r); err != nil {
			t.Fatal(err)
		}
		want := int64(r.body)
		if r.unsized {
			want = -1
		}
		if got := <-lengths; got != want {
			t.Errorf("%+v has length %d, want %d", r, got, want)
		}
	}
}

// On one HTTP/2 connection every worker gets its own answer.
func TestSharedConnection(t *testing.T) {
	c := dialServer(t, echo)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for range 50 {
				got, err := c.do(&request{method: "GET", path: "/", query: strings.Repeat("q", n), token: "good"})
				if err != nil || got != (answer{200, int64(6 + n)}) {
					t.Errorf("worker %d gets %+v, %v", n, got, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// A connection that is gone fails whoever waits, and whoever comes later.
func TestLostConnection(t *testing.T) {
	c := dialServer(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for range 2 {
		if got, err := c.do(&request{method: "GET", path: "/"}); err == nil {
			t.Errorf("an answer %+v came", got)
		}
	}
}

// Tokens to be refused differ every time, and are of the kind they should be.
func TestTokens(t *testing.T) {
	w := world{Workspaces: 3, Issuer: "https://issuer.example", Keyed: "eyJhbGciOiJSUzI1NiJ9", Token: "t"}
	for kind, want := range map[kind]token.Token{forged: {JWT: true, Issuer: w.Issuer}, stranger: {JWT: true, Issuer: "https://stranger.example"}, garbage: {}} {
		t.Run(string(kind), func(t *testing.T) {
			seen := map[string]bool{}
			for range 2 { // two processes of load
				a := newAsker(&loadTask{World: w, Kind: kind})
				r := a.request()
				for i := range 100 {
					a.next(r, i)
					got := token.Parse(r.token)
					if seen[r.token] || got.JWT != want.JWT || got.Issuer != want.Issuer || r.want != http.StatusUnauthorized {
						t.Fatalf("token %d: seen before %t, %+v", i, seen[r.token], got)
					}
					seen[r.token] = true
				}
			}
		})
	}
}
