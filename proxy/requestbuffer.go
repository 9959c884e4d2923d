package proxy

import (
	"bytes"
	"io"
	"net/http"
)

// maxBufferedBody is the largest body that is read before its request is forwarded.
// A shard that winds a connection down (GOAWAY; Kubernetes API servers do that
// now and then by themselves, to spread load) has not looked at requests that
// came too late for it, and they may go out again on another connection. The
// transport can do that only with a body it can have twice.
const maxBufferedBody = 64 << 10

// firstBufferSize is the room made before any of a body has come.
const firstBufferSize = 4 << 10

// isBuffered says whether r's body is one that bufferBody reads.
func isBuffered(r *http.Request) bool {
	return r.ContentLength > 0 && r.ContentLength <= maxBufferedBody
}

// bufferBody returns r with its body in memory when that is small and of a known
// length; other bodies stream, as do upgrades. The error is the client's: its
// body broke off, or, os.ErrDeadlineExceeded, came too slowly (requestBody). Then
// the connection can serve no other request.
func bufferBody(r *http.Request) (*http.Request, error) {
	if !isBuffered(r) {
		return r, nil
	}
	body, err := readAll(r.Body, int(r.ContentLength))
	if err != nil {
		return nil, err
	}
	held := r.WithContext(r.Context())
	if _, waits := r.Header["Expect"]; waits { // it was told to go on, and has
		held.Header = r.Header.Clone()
		delete(held.Header, "Expect")
	}
	held.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	held.Body, _ = held.GetBody()
	return held, nil
}

// readAll reads n bytes. Room is made as they come: a length is easily said.
func readAll(from io.Reader, n int) ([]byte, error) {
	body := make([]byte, min(n, firstBufferSize))
	for done := 0; ; {
		got, err := io.ReadFull(from, body[done:])
		if err != nil {
			return nil, err
		}
		if done += got; done == n {
			return body, nil
		}
		grown := make([]byte, min(n, 4*done))
		copy(grown, body)
		body = grown
	}
}
