package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"

	"frontproxy/authn/issuer/issuertest"
)

// TestSharedConnections: on one connection come requests of a certificate's owner
// and of many tokens' owners, short ones, bodies and watches, one after another or
// all at once, and go out on connections that they share. Each gets its own
// answer, and the shard sees its own user, whoever came before it.
func TestSharedConnections(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	dave := newRSAIssuer(t)
	i.shard.SetForwarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		seen := fmt.Sprintf("%s/%q/%v/%d", r.URL.Query().Get("id"), r.Header["X-Remote-User"], r.Header["Authorization"], len(body))
		if r.URL.Query().Get("watch") != "" {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.WriteString(w, seen)
	}))
	p := i.start("--client-ca-file="+i.kcp.ClientCA.File,
		"--token-auth-file="+file(t, "tokens.csv", []byte("franks-token,frank,,\ngraces-token,grace,,\n")),
		"--oidc-issuer-url="+dave.URL(), "--oidc-client-id=kcp", "--oidc-username-prefix=oidc:", "--oidc-ca-file="+file(t, "oidc-ca.crt", []byte(dave.CAPEM())))
	users := map[string]string{
		"franks-token": "frank", "graces-token": "grace",
		dave.Sign(issuertest.Claims{"sub": "dave", "aud": "kcp"}): "oidc:dave",
		dave.Sign(issuertest.Claims{"sub": "eve", "aud": "kcp"}):  "oidc:eve",
		"garbage": "", "": "",
	}
	var tokens []string
	for token := range users {
		tokens = append(tokens, token)
	}
	for _, tt := range []struct {
		name         string
		owner        string // of the certificate
		http2        bool
		askers, asks int
	}{
		{"HTTP/1.1", "", false, 1, 300},
		{"HTTP/1.1, certificate", "alice", false, 1, 300},
		{"HTTP/2", "", true, 8, 60},
		{"HTTP/2, certificate", "alice", true, 8, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := i.client(p, tt.owner)
			transport := client.Transport.(*http.Transport)
			transport.MaxConnsPerHost, transport.ForceAttemptHTTP2 = 1, tt.http2
			if !tt.http2 {
				transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			}
			var mu sync.Mutex
			connections := map[string]bool{}
			var all sync.WaitGroup
			for asker := range tt.askers {
				all.Go(func() {
					for n := range tt.asks {
						token := tokens[rand.IntN(len(tokens))]
						user := users[token]
						if tt.owner != "" {
							user = tt.owner // the certificate is looked at first
						}
						id := fmt.Sprintf("%d-%d", asker, n)
						local, code, proto, got := p.shared(client, id, token, rand.IntN(3))
						mu.Lock()
						connections[local] = true
						mu.Unlock()
						if wrong := answerOf(user, id, code, got); wrong != "" || (proto == 2) != tt.http2 {
							t.Errorf("request %s of %q over HTTP/%d: %d %s", id, user, proto, code, got)
							return
						}
					}
				})
			}
			all.Wait()
			if len(connections) != 1 {
				t.Errorf("%d connections were used, so not all requests shared one", len(connections))
			}
		})
	}
}

// shared asks on a connection that others use, for a short answer, with a body, or
// for a watch; it returns the connection's local address, too.
func (p *runningProxy) shared(c *http.Client, id, token string, kind int) (local string, code, proto int, body string) {
	method, query, content := http.MethodGet, "?id="+id, []byte(nil)
	switch kind {
	case 1:
		method, content = http.MethodPost, make([]byte, 1+rand.IntN(200_000))
	case 2:
		query += "&watch=true"
	}
	r, err := http.NewRequest(method, p.url+"/clusters/root:far/api"+query, bytes.NewReader(content))
	if err != nil {
		p.t.Error(err)
		return "", 0, 0, ""
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("X-Remote-User", "mallory")
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { local = info.Conn.LocalAddr().String() }}))
	res, err := c.Do(r)
	if err != nil {
		p.t.Error(err)
		return "", 0, 0, ""
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Error(err)
	}
	return local, res.StatusCode, res.ProtoMajor, fmt.Sprintf("%s (%d sent)", answer, len(content))
}

// answerOf is what is wrong with an answer to a user; nobody is "".
func answerOf(user, id string, code int, got string) string {
	if user == "" {
		if code != http.StatusUnauthorized {
			return "admitted"
		}
		return ""
	}
	begin, end := fmt.Sprintf("%s/[%q]/[]/", id, user), ""
	if _, sent, ok := strings.Cut(got, " ("); ok {
		end = strings.TrimSuffix(sent, " sent)")
	}
	if code != http.StatusOK || got != begin+end+" ("+end+" sent)" {
		return "another's"
	}
	return ""
}

// TestPipelinedRequests: requests that are sent at once, with other tokens and
// other ways to say how long a body is, are read apart as they were meant.
func TestPipelinedRequests(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.shard.SetForwarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %q %q", r.Method, r.URL.RawQuery, r.Header["X-Remote-User"], body)
	}))
	p := i.start("--client-ca-file="+i.kcp.ClientCA.File, "--token-auth-file="+file(t, "tokens.csv", []byte("franks-token,frank,,\ngraces-token,grace,,\n")))
	roots := i.client(p, "").Transport.(*http.Transport).TLSClientConfig.RootCAs
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const inner = "GET /clusters/root:far/api?id=inner HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer franks-token\r\n\r\n"
	line := func(method, id, token, rest string) string {
		return method + " /clusters/root:far/api?id=" + id + " HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + token + "\r\n" + rest
	}
	all := line("GET", "1", "franks-token", "\r\n") +
		line("POST", "2", "graces-token", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(inner), inner)) +
		line("POST", "3", "franks-token", fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(inner), inner)) +
		line("GET", "4", "garbage", "\r\n") +
		line("GET", "5", "graces-token", "Connection: close\r\n\r\n")
	if _, err := io.WriteString(conn, all); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for n, want := range []string{
		`GET id=1 ["frank"] ""`, fmt.Sprintf(`POST id=2 ["grace"] %q`, inner), fmt.Sprintf(`POST id=3 ["frank"] %q`, inner), "", `GET id=5 ["grace"] ""`,
	} {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", n+1, err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		switch {
		case err != nil:
			t.Fatalf("answer %d: %v", n+1, err)
		case want == "" && res.StatusCode != http.StatusUnauthorized, want != "" && string(body) != want:
			t.Errorf("answer %d: %d %s, want %s", n+1, res.StatusCode, body, want)
		}
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("after the last answer: %q", rest)
	}
}
