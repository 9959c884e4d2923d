package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestClosedBodiesAreNotMalformed: when the transport gives up, it closes the body, also during a Read.
func TestClosedBodiesAreNotMalformed(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	body, client := io.Pipe() // a Read that Close ends has an error of the pipe's own, as over HTTP/2
	r.Body, r.ContentLength = body, -1
	b := newRequestBody(httptest.NewRecorder(), r, stuck, &charges{})
	reading := make(chan error)
	go func() {
		_, err := b.Read(make([]byte, 1<<10))
		reading <- err
		_, err = b.Read(make([]byte, 1<<10))
		reading <- err
	}()
	_, _ = client.Write([]byte("x"))
	if err := <-reading; err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	if err := <-reading; err == nil {
		t.Error("a closed body has more")
	}
	if err := b.brokenBy(); err != nil {
		t.Errorf("the client is blamed: %v", err)
	}
}

// TestMalformedBodies: a body that cannot be read is its client's fault: the shard is neither blamed
// nor counted as unreachable, and the client is not asked to try again.
func TestMalformedBodies(t *testing.T) {
	for name, tt := range map[string]struct{ body, cause string }{
		"chunk size":      {"zz\r\n", "invalid byte in chunk length"},
		"end of a chunk":  {"3\r\nabcdef\r\n0\r\n\r\n", "malformed chunked encoding"},
		"chunk extension": {"3;" + strings.Repeat("x", 5000) + "\r\nabc\r\n0\r\n\r\n", "header line too long"},
		"trailer":         {"3\r\nabc\r\n0\r\nno colon\r\n\r\n", "missing colon"},
		"large trailer":   {"3\r\nabc\r\n0\r\nX-T: " + strings.Repeat("x", 5000) + "\r\n\r\n", "suspiciously long trailer"},
	} {
		for _, shard2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 to the shard: %v", name, shard2), func(t *testing.T) {
				w := newWorld(t)
				w.shard(t, "shard-1", shard2, func(rw http.ResponseWriter, r *http.Request) {
					if _, err := io.Copy(io.Discard, r.Body); err != nil {
						panic(http.ErrAbortHandler)
					}
				})
				f := w.front(t)
				conn := f.dial(t)
				_, _ = io.WriteString(conn, "POST /clusters/root:ws/api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+tt.body)
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = res.Body.Close() }()
				text, _ := io.ReadAll(res.Body)
				if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), tt.cause) || res.Header.Get("Retry-After") != "" || !res.Close {
					t.Errorf("%s (close: %v) %v %s", res.Status, res.Close, res.Header, text)
				}
				for _, line := range metricLines(t, f.config.Metrics, "front_proxy_upstream_errors_total") {
					if !strings.HasSuffix(line, " 0") {
						t.Errorf("the shard is blamed: %s", line)
					}
				}
			})
		}
	}
}
