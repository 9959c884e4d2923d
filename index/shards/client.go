package shards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// maxErrorBody bounds how much of a response other than 200 is read.
const maxErrorBody = 64 << 10

// client sends GET requests below one base URL.
type client struct {
	http *http.Client
	base *url.URL
	// timeout is how long the headers of a response may take.
	timeout time.Duration
}

// newClient reads the files that cfg names; cfg's Host is not used. The transport is
// client-go's, with its settings for trusted servers. A watch has no end, so the
// client has no timeout for a whole response; do and list have one.
func newClient(cfg *rest.Config, base *url.URL, timeout time.Duration) (*client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Host = base.Host
	cfg.Timeout = 0
	// On HTTP/1.1 the goroutine that waits for a watch also reads it: an event wakes
	// one goroutine, on HTTP/2 two, and nothing is sent back. This saves a quarter of
	// the cost of a single event.
	cfg.NextProtos = []string{"http/1.1"}
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("build the HTTP client: %w", err)
	}
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{http: hc, base: base, timeout: timeout}, nil
}

// close closes idle connections.
func (c *client) close() { utilnet.CloseIdleConnectionsFor(c.http.Transport) }

// answerError is a response other than 200, or an ERROR event of a watch.
type answerError struct{ metav1.Status }

func (e *answerError) Error() string {
	return fmt.Sprintf("the server answered %d %s: %s", e.Code, e.Reason, e.Message)
}

// newAnswerError reads a response's body, or with code 0 an event's object.
func newAnswerError(code int, body []byte) *answerError {
	e := &answerError{}
	if json.Unmarshal(body, e) != nil || e.Kind != "Status" {
		e.Status = metav1.Status{Message: http.StatusText(code)}
	}
	if code != 0 {
		e.Code = int32(code) //nolint:gosec // three digits
	}
	return e
}

// expired reports whether the requested version is no longer available.
func expired(err error) bool {
	var a *answerError
	return errors.As(err, &a) && (a.Code == http.StatusGone || a.Reason == metav1.StatusReasonExpired)
}

func notFound(err error) bool {
	var a *answerError
	return errors.As(err, &a) && a.Code == http.StatusNotFound
}

// open sends a GET and returns the body of a 200. The body ends when ctx does.
func (c *client) open(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	u := *c.base
	u.Path = c.base.Path + path
	u.RawPath = c.base.EscapedPath() + path // keeps the "*" as it is
	u.RawQuery = query.Encode()
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	late := time.AfterFunc(c.timeout, func() {
		cancel(fmt.Errorf("no response within %s", c.timeout))
	})
	resp, err := c.http.Do(req) //nolint:bodyclose // closed by the caller, or below
	late.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return &body{ReadCloser: resp.Body, cancel: cancel}, nil
	}
	defer cancel(nil)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		text = nil
	}
	return nil, newAnswerError(resp.StatusCode, text)
}

// get reads a whole JSON response.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*c.timeout)
	defer cancel()
	b, err := c.open(ctx, path, query)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	return json.NewDecoder(b).Decode(into)
}

// body is a response's body; closing it ends the request.
type body struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *body) Close() error {
	b.cancel(nil)
	return b.ReadCloser.Close()
}
