package proxy

import (
	"bytes"
	"io"
	"net/http"
)

// replayable is the largest body that is read before its request is forwarded.
// A shard that winds a connection down (GOAWAY; Kubernetes API servers do that
// now and then by themselves, to spread load) has not looked at requests that
// came too late for it, and they may go out again on another connection. The
// transport can do that only with a body it can have twice.
const replayable = 64 << 10

// holdBody returns r with its body in memory when that is small and of a known
// length; other bodies stream, as do upgrades. The error is the client's: its
// body broke off.
func holdBody(r *http.Request) (*http.Request, error) {
	if r.ContentLength <= 0 || r.ContentLength > replayable {
		return r, nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, err
	}
	held := r.WithContext(r.Context())
	held.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	held.Body, _ = held.GetBody()
	return held, nil
}
