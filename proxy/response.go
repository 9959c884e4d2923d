package proxy

import (
	"net/http"

	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/upstream"
)

// modifyResponse sees the upstream's answer before the client does.
func (x *exchange) modifyResponse(res *http.Response) error {
	x.headerWritten, x.code = true, res.StatusCode
	if res.StatusCode != http.StatusSwitchingProtocols { // whose body is the tunnel
		res.Body = x.upload.answered(res.Body)
	}
	if x.dest.Trust == destination.Untrusted {
		upstream.SanitizeResponse(res)
	}
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		x.p.checkIdentityRejected(res, &x.dest, x.decision.User, x.inbound.Header.Get("Impersonate-User") != "")
	}
	if res.StatusCode == http.StatusForbidden && x.dest.Kind == destination.Shard && (x.dest.Path == "/api" || x.dest.Path == "/apis") {
		// Whoever has access to a workspace may ask which APIs it has.
		apistatus.WarnNoAccess(res.Header, x.dest.Asked())
	}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		x.charges.release() // a tunnel needs none
		return nil
	case res.ContentLength == -1 && res.StatusCode == http.StatusOK && x.long:
		x.charges.release()
		if x.inbound.Method == http.MethodGet || !x.upload.expects() {
			x.watch = x.p.newWatch(x.inbound, res, &x.dest, x.decision, x.traffic.Received)
			return nil
		}
		x.rechecked = x.p.newRecheckedBody(res, x.p.streamAuthn(x.inbound, &x.dest, x.decision)) // ReverseProxy would end the upload
	case res.ContentLength == -1:
		x.rechecked = x.p.newRecheckedBody(res, x.p.streamAuthn(x.inbound, &x.dest, x.decision))
	}
	if res.Body != http.NoBody {
		x.download = countedBody{ReadCloser: res.Body, bytes: x.traffic.Received}
		res.Body = &x.download
	}
	return nil
}
