package upstream

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"

	"frontproxy/internal/egress"
)

// Untrusted carries requests to a host whose answers are not believed.
func Untrusted(transport http.RoundTripper) http.RoundTripper {
	return sanitizingTransport{egress.LimitAnswers(transport)}
}

// SanitizeResponse removes from an external host's answer what would let the host act as the
// proxy's origin in a browser, where it could use the user's certificate or token. Trailers
// are sanitized at the end of the body, when they have been read.
func SanitizeResponse(res *http.Response) {
	stripOriginHeaders(res.Header)
	res.Header.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	res.Header.Set("X-Content-Type-Options", "nosniff")
	if res.StatusCode != http.StatusSwitchingProtocols && res.Body != http.NoBody {
		res.Body = &sanitizedBody{res.Body, res}
	}
}

// stripOriginHeaders removes headers that act for an origin.
func stripOriginHeaders(header http.Header) {
	for key := range header {
		if strings.HasPrefix(key, "Access-Control-") {
			delete(header, key)
		}
	}
	for _, key := range []string{
		"Set-Cookie", "Clear-Site-Data", "Strict-Transport-Security", "Public-Key-Pins", "Alt-Svc", "Service-Worker-Allowed",
		"Nel", "Report-To", "Reporting-Endpoints", "Accept-Ch", "Critical-Ch", "Expect-Ct", "Set-Login", "Origin-Trial",
	} {
		delete(header, key)
	}
}

// sanitizedBody is the body of an external host's answer. It sanitizes the trailers.
type sanitizedBody struct {
	io.ReadCloser
	res *http.Response
}

func (b *sanitizedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		stripOriginHeaders(b.res.Trailer)
	}
	return n, err
}

// sanitizingTransport is a transport to an external host. It sanitizes informational answers
// (1xx), which ReverseProxy passes on to the client.
type sanitizingTransport struct{ http.RoundTripper }

func (c sanitizingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
			stripOriginHeaders(http.Header(header))
			return nil
		},
	})))
}
