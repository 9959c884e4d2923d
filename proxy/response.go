package proxy

import (
	"net/http"

	"frontproxy/proxy/destination"
	"frontproxy/proxy/upstream"
)

// modifyResponse sees the upstream's answer before the client does.
func (x *exchange) modifyResponse(res *http.Response) error {
	x.headerWritten, x.code = true, res.StatusCode
	if res.StatusCode != http.StatusSwitchingProtocols { // whose body is the tunnel
		res.Body = x.upload.answered(res.Body)
	}
	if x.dest.Trust == destination.Stranger {
		upstream.SanitizeResponse(res)
	}
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		x.checkIdentityRejected(res)
	}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		x.charges.release() // a tunnel needs none
		return nil
	case res.ContentLength == -1 && res.StatusCode == http.StatusOK && x.long:
		x.charges.release()
		if !x.uploads() {
			x.captureWatchBody(res)
			return nil
		}
		x.followEndless(res) // ReverseProxy would end the upload
	case res.ContentLength == -1:
		x.followEndless(res)
	}
	if res.Body != http.NoBody {
		x.download = countedBody{ReadCloser: res.Body, bytes: x.traffic.Received}
		res.Body = &x.download
	}
	return nil
}

// uploads says whether more of the request's body may come, and somebody may want it.
func (x *exchange) uploads() bool { return x.inbound.Method != http.MethodGet && x.upload.expects() }
