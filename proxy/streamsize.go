package proxy

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/authn"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
)

const (
	// maxStreamRequest bounds the request that begins a watch or an upgraded
	// connection, in bytes of its line and headers: it is kept as long as the
	// stream lasts, to be decided about again. What admitted it is not counted, a
	// token or asserted headers: that is bounded by who judged it.
	maxStreamRequest = 128 << 10
	// headerOverhead is what a header takes in memory beside its text, in bytes.
	headerOverhead = 64
)

// checkStreamSize refuses a stream whose request is too large to be kept.
func checkStreamSize(r *http.Request, to *destination.Destination, admitted *authn.Decision) *metav1.Status {
	size := len(r.Method) + len(r.RequestURI) + len(r.Host)
	for name, values := range r.Header {
		if name == "Authorization" && admitted.ByToken() || admitted.Asserted() && to.Headers.IsIdentityHeader(name) {
			continue
		}
		size += len(name)
		for _, v := range values {
			size += len(v) + headerOverhead
		}
	}
	if size <= maxStreamRequest {
		return nil
	}
	return apistatus.StreamTooLarge(maxStreamRequest)
}
