package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestTrailersAreNotKeptByStreams: a watch over HTTP/1.1 does not keep the trailers of its request.
func TestTrailersAreNotKeptByStreams(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", false, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	f := w.front(t)
	var trailers strings.Builder
	for n := 100; n < 900; n++ {
		_, _ = fmt.Fprintf(&trailers, "%d:\n", n)
	}
	for _, announced := range []string{"", "Trailer: x\r\n"} {
		if kept := f.keeps(t, 20, func() {
			conn := f.dial(t)
			_, _ = io.WriteString(conn, "GET /clusters/root:ws/api/v1/pods?watch=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"+announced+"\r\n0\r\n"+trailers.String()+"x: y\r\n\r\n")
			if _, err := conn.Read(make([]byte, 1<<10)); err != nil {
				t.Fatal(err)
			}
		}); kept > mostKept {
			t.Errorf("a connection keeps %d bytes", kept)
		}
	}
}
