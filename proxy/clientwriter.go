package proxy

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"time"
)

// clientWriter writes the answer to the client. While a write waits for the client, the
// request does not count as running.
type clientWriter struct {
	http.ResponseWriter
	charges *charges
	upload  *requestBody // nil: the request has no body
	http2   bool
}

func (w *clientWriter) Write(b []byte) (int, error) {
	w.charges.beginClientWait()
	defer w.charges.endClientWait()
	return w.ResponseWriter.Write(b)
}

// FlushError is what http.ResponseController calls.
func (w *clientWriter) FlushError() error {
	w.charges.beginClientWait()
	defer w.charges.endClientWait()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// WriteHeader implements http.ResponseWriter. Informational answers are not passed on
// over HTTP/2: when a client resets its stream meanwhile, net/http returns before it
// has read the headers, which ReverseProxy then changes, and two goroutines that use a
// map at the same time end the process.
func (w *clientWriter) WriteHeader(code int) {
	if code < http.StatusOK && code != http.StatusSwitchingProtocols && w.http2 {
		return
	}
	w.ResponseWriter.WriteHeader(code)
	if code >= http.StatusOK && w.upload.remains() {
		// Before it sends the headers, net/http reads what the client may still send.
		connection := http.NewResponseController(w.ResponseWriter)
		_ = connection.SetReadDeadline(time.Now().Add(w.upload.timeout)) // only writers of tests have no deadlines
		_ = w.FlushError()
		_ = connection.SetReadDeadline(time.Time{})
	}
}

// Hijack is what http.ResponseController calls for an upgrade: a tunnel's client
// may be as slow as it likes.
func (w *clientWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		conn = newTunnel(conn)
	}
	return conn, buffered, err //nolint:wrapcheck // net/http's, for net/http
}

// tunnelWriter is the clientWriter of a tunnel, which ends with ctx. Then ReverseProxy closes the
// server's connection only, and would wait for a client that neither sends nor closes.
type tunnelWriter struct {
	*clientWriter
	ctx context.Context
}

// Hijack closes the client's connection when the tunnel ends.
func (w *tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.clientWriter.Hijack()
	if err == nil {
		context.AfterFunc(w.ctx, func() { _ = conn.Close() })
	}
	return conn, buffered, err
}

// Unwrap is for http.ResponseController.
func (w *clientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
