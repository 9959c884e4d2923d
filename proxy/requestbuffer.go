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
	// A length is easily said: memory is taken as the body comes.
	body, err := io.ReadAll(r.Body)
	if err == nil && int64(len(body)) < r.ContentLength {
		err = io.ErrUnexpectedEOF
	}
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
