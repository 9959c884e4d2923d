package proxy

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/proxy/apistatus"
)

// checkFraming refuses a request that says twice how long it is. HTTP/1.1 ones
// do not get this far; net/http's HTTP/2 takes the first and goes on (RFC 9113,
// section 8.1.1 calls it malformed).
func checkFraming(r *http.Request) *metav1.Status {
	if len(r.Header["Content-Length"]) > 1 {
		return apistatus.BadRequest("the request has more than one content-length")
	}
	return nil
}
