package issuer

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestAnswersAreLimited: an answer of the largest size is read to its end; of a longer one, the
// error says that it is the issuer's answer, and how long that may be.
func TestAnswersAreLimited(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
		want string
	}{
		{"the largest", maxAnswer, ""},
		{"a byte more", maxAnswer + 1, "the issuer's answer is longer than 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(bytes.Repeat([]byte("x"), tt.size))
			}))
			defer server.Close()
			c := &http.Client{Transport: &guarded{next: server.Client().Transport, clock: &clock{}}}
			res, err := c.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			n, err := io.Copy(io.Discard, res.Body)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want || n != int64(min(tt.size, maxAnswer)) {
				t.Errorf("read %d bytes, then %q, want %q", n, got, tt.want)
			}
		})
	}
}
