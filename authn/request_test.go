package authn

import (
	"net/http"

	"frontproxy/index"
)

// requestOf is what Decide judges of an HTTP request for t.
func requestOf(r *http.Request, t *index.Target) Request {
	out := Request{Header: r.Header, RemoteAddr: r.RemoteAddr, Method: r.Method, URL: r.URL, Target: *t}
	if r.TLS != nil {
		out.Certificates = r.TLS.PeerCertificates
	}
	return out
}
