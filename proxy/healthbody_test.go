package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBodiesThatNobodyReads: the proxy answers some requests before it charges anybody for them. Over HTTP/1.1, net/http
// waits for their body, but not for ever.
func TestBodiesThatNobodyReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.CORSOrigins = []string{"https://console\\.example$"}
	f := w.front(t)
	for line, framing := range map[string]string{
		"GET /livez":                   "Content-Length: 10",
		"POST /readyz":                 "Transfer-Encoding: chunked",
		"PUT /healthz/unknown":         "Content-Length: 10",
		"OPTIONS /clusters/root:x/api": "Content-Length: 10",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.root})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(ownAnswerTimeout + 10*time.Second))
			_, _ = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: h\r\nOrigin: https://console.example\r\nAccess-Control-Request-Method: GET\r\nX: %s\r\n%s\r\n\r\n", line, strings.Repeat("x", 100<<10), framing)
			from := bufio.NewReader(conn)
			res, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if !res.Close {
				t.Error("the connection is said to be usable")
			}
		})
	}
}

// TestUploadsOutlastOwnAnswers: the time limit of answers for which nobody is charged is not that of an upload.
func TestUploadsOutlastOwnAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) })
	f := w.front(t)
	body, upload := io.Pipe()
	go func() {
		_, _ = io.WriteString(upload, "first ")
		time.Sleep(ownAnswerTimeout + time.Second)
		_, _ = io.WriteString(upload, "last")
		_ = upload.Close()
	}()
	res, err := f.client(t, false).Post(f.URL+"/clusters/root:ws/api", "text/plain", body) //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got, err := io.ReadAll(res.Body); string(got) != "first last" {
		t.Errorf("%d %s, %v", res.StatusCode, got, err)
	}
}

// TestPipelinedUploads: a client over HTTP/1.1 may send its next requests while one is under way.
func TestPipelinedUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	s.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		time.Sleep(50 * time.Millisecond) // net/http reads on meanwhile
		_, _ = fmt.Fprint(rw, n, err)
	})
	f := w.front(t)
	conn := f.dial(t)
	const requests, size = 6, 300 << 10
	go func() {
		for n := range requests {
			framing, body := fmt.Sprint("Content-Length: ", size), strings.Repeat("x", size)
			if n%2 == 1 {
				framing, body = "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body)
			}
			_, _ = fmt.Fprintf(conn, "POST /clusters/root:ws/api HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n%s", framing, body)
		}
	}()
	from := bufio.NewReader(conn)
	for n := range requests {
		res, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(n, err)
		}
		if got, err := io.ReadAll(res.Body); string(got) != fmt.Sprint(size, nil) {
			t.Errorf("request %d: %d %s, %v", n, res.StatusCode, got, err)
		}
	}
}
