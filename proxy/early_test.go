package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"frontproxy/index"
)

// forbidding is a shard that forbids everything and reads no body, as one does whose
// RBAC forbids a request. It tells what it saw of "Expect".
func (w *world) forbidding(t *testing.T, http2 bool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Expect", r.Header.Get("Expect"))
		rw.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(rw, "forbidden")
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = http2
	s.TLS = &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, "shard-1")}, ClientCAs: w.clients.Pool, ClientAuth: tls.VerifyClientCertIfGiven}
	s.StartTLS()
	t.Cleanup(s.Close)
	w.index["root:ws"] = index.Target{Cluster: "2kd9", Shard: shardAt("shard-1", parse(t, s.URL))}
}

// upload sends a request with a body over HTTP/1.1 as curl does: with expect it
// waits a second for a word before the body, and whatever becomes of writing the
// body, it reads the answer.
func (f *front) upload(t *testing.T, body []byte, expect bool) (*http.Response, []byte, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	head := fmt.Sprintf("POST /clusters/root:ws/api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: front.example\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	if expect {
		head += "Expect: 100-continue\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, nil, err
	}
	in := bufio.NewReader(conn)
	if expect {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, err := in.Peek(1)
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if err == nil {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				return nil, nil, err
			}
			if res.StatusCode != http.StatusContinue {
				text, err := io.ReadAll(res.Body)
				return res, text, err
			}
		}
	}
	go func() { _, _ = conn.Write(body) }()
	res, err := http.ReadResponse(in, nil)
	if err == nil && expect && res.StatusCode == http.StatusContinue { // the word came after more than a second
		res, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(res.Body)
	return res, text, err
}

// TestEarlyAnswersToUploads: a shard that answers before it has read a body has its
// answer reach the client, every time, whatever the size of the body and whether the
// client waits for a word before it sends the body.
func TestEarlyAnswersToUploads(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, client2, shard2 bool) {
		w := newWorld(t)
		w.forbidding(t, shard2)
		f := w.front(t)
		c := f.client(t, client2)
		c.Transport.(*http.Transport).ExpectContinueTimeout = time.Second
		for _, expect := range []bool{false, true} {
			for _, size := range []int{1 << 10, 100 << 10, 300 << 10, 2 << 20, 20 << 20} {
				body := bytes.Repeat([]byte("x"), size)
				for i := range 6 {
					var res *http.Response
					var text []byte
					var err error
					if client2 {
						res, text, err = post(f, c, body, expect)
					} else {
						res, text, err = f.upload(t, body, expect)
					}
					if err != nil || res.StatusCode != http.StatusForbidden || string(text) != "forbidden" {
						t.Errorf("%d bytes, expect %v, try %d: %v %v %q", size, expect, i, res, err, text)
						break
					}
				}
			}
		}
	})
}

func post(f *front, c *http.Client, body []byte, expect bool) (*http.Response, []byte, error) {
	r, err := http.NewRequest(http.MethodPost, f.URL+"/clusters/root:ws/api/v1/namespaces/default/configmaps", bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if expect {
		r.Header.Set("Expect", "100-continue")
	}
	res, err := c.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return res, text, err
}

// TestAnswerBeforeAReset: a server that answers in the middle of a body and closes,
// so that the connection is reset, has its answer reach the client.
func TestAnswerBeforeAReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{w.serving.Pair(t, "shard-1")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() // much of the body is unread: a reset
				in := bufio.NewReader(conn)
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				if _, err := io.CopyN(io.Discard, in, 64<<10); err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 9\r\n\r\nforbidden")
			}()
		}
	}()
	w.index["root:ws"] = index.Target{Cluster: "2kd9", Shard: shardAt("shard-1", parse(t, "https://"+listener.Addr().String()))}
	f := w.front(t)
	body := bytes.Repeat([]byte("x"), 20<<20)
	for i := range 50 {
		res, text, err := f.upload(t, body, false)
		if err != nil || res.StatusCode != http.StatusForbidden || string(text) != "forbidden" {
			t.Fatalf("try %d: %v %v %q", i, res, err, text)
		}
	}
}
