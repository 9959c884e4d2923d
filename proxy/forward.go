package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/internal/clip"
	"frontproxy/internal/egress"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/identityheaders"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/upstream"
)

// forward sends the request to its Destination, and the answer to the client.
func (x *exchange) forward(w http.ResponseWriter, r *http.Request) {
	x.rp.BufferPool, x.rp.Transport = x.p.buffers.large, x.dest.Transport
	r = x.withWatchContext(r)
	x.inbound = r
	buffered := r
	if !x.upgrade {
		if buffered = x.bufferRequest(w, r); buffered == nil {
			return
		}
	}
	if status := x.charges.startRunning(&x.p.limit, x.decision.User, &x.dest); status != nil {
		x.answer(w, status)
		return
	}
	x.response.writer = clientWriter{w, x.charges, x.upload, r.ProtoMajor == 2}
	if x.upgrade {
		x.tunnel(r)
		return
	}
	x.rp.ServeHTTP(&x.response.writer, buffered)
}

// bufferRequest reads a small body; nil: the body did not arrive in time, and the client has
// its answer.
func (x *exchange) bufferRequest(w http.ResponseWriter, r *http.Request) *http.Request {
	buffered, err := bufferBody(r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		x.refuseBody(w, apistatus.BodyTimeout())
		return nil
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the client broke off: nobody reads an answer
	}
	return buffered
}

// refuseBody answers a client whose body did not arrive in time or cannot be read.
func (x *exchange) refuseBody(w http.ResponseWriter, s *metav1.Status) {
	if x.upload.http1 { // over HTTP/2 only the stream is lost
		w.Header().Set("Connection", "close")
	}
	x.answer(w, s)
}

// tunnel is forward for upgrades.
func (x *exchange) tunnel(r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	st := x.p.streams.begin(&stream{kind: upgradeStream, end: cancel}, r, &x.dest, x.decision)
	defer x.p.streams.set.remove(st)
	x.rp.ServeHTTP(&tunnelWriter{&x.response.writer, ctx}, r.WithContext(ctx))
}

// rewrite makes the outgoing request. ReverseProxy has removed the hop-by-hop
// headers by now, so nothing that is set here can be removed again.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	x.dest.SetURL(out.URL, x.dest.Path)
	out.URL.RawQuery = in.URL.RawQuery
	out.Trailer = nil
	if shard := x.dest.Shard; shard != "" {
		x.response.traffic = x.p.config.Metrics.Traffic(shard)
	}
	if x.response.traffic.Sent != nil && out.Body != nil {
		// The transport may read on when the handler has returned.
		out.Body = &countedBody{ReadCloser: out.Body, bytes: x.response.traffic.Sent}
	}
	restoreForwarding(in, out)
	x.dest.Headers.Clear(out.Header)
	x.p.propagateTrace(out, x.id, &x.dest)
	writeIdentity(out.Header, &x.dest, x.admission)
	if x.dest.Kind == destination.MountedHost {
		out.Host = x.dest.Base.Host
		out.Header[routing.LoopHeader] = append(slices.Clone(in.Header[routing.LoopHeader]), routing.LoopMark)
	}
}

// restoreForwarding puts back what ReverseProxy removed, so that shards see the whole chain of
// proxies, and adds the client's address.
func restoreForwarding(in, out *http.Request) {
	for _, key := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := in.Header[key]; ok {
			out.Header[key] = v
		}
	}
	client, _, err := net.SplitHostPort(in.RemoteAddr)
	if err != nil {
		return
	}
	if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 {
		client = strings.Join(prior, ", ") + ", " + client
	}
	out.Header["X-Forwarded-For"] = []string{client}
}

// writeIdentity writes into cleared headers who is asking, as far as the server at d may
// see that.
func writeIdentity(header http.Header, d *destination.Destination, a admission) {
	switch {
	case d.Exposure == destination.Untrusted:
		identityheaders.DropPrivate(header)
	case d.Exposure == destination.ReducedIdentity:
		identityheaders.DropCredentials(header)
		identityheaders.DropCookies(header)
		d.HostHeaders.Clear(header)
		d.HostHeaders.Set(header, a.forwardedUser)
	case a.forwardedUser == nil: // the server judges the credentials
	case a.decision.AssertedBy != "":
		identityheaders.DropCredentials(header)
		d.Headers.SetUnchanged(header, a.forwardedUser)
	default:
		identityheaders.DropCredentials(header)
		d.Headers.Set(header, a.forwardedUser)
	}
}

// modifyResponse sees the upstream's answer before the client does.
func (x *exchange) modifyResponse(res *http.Response) error {
	x.response.headerWritten, x.code = true, res.StatusCode
	if res.StatusCode != http.StatusSwitchingProtocols { // whose body is the tunnel
		res.Body = x.upload.answered(res.Body)
	}
	if x.dest.Exposure == destination.Untrusted {
		upstream.SanitizeResponse(res)
	}
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		x.p.rejections.record(res, &x.dest, x.decision.User, x.inbound.Header.Get("Impersonate-User") != "")
	}
	if res.StatusCode == http.StatusForbidden && x.dest.Kind == destination.Shard && (x.dest.Path == "/api" || x.dest.Path == "/apis") {
		// Everybody with access to a workspace may ask which APIs it has.
		apistatus.WarnNoAccess(res.Header, x.dest.Asked())
	}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		x.charges.releaseRequest()
		return nil
	case res.ContentLength == -1 && res.StatusCode == http.StatusOK && x.long:
		x.charges.releaseRequest()
		if x.inbound.Method == http.MethodGet || !x.upload.expects() {
			x.response.watch = x.p.streams.newWatch(x.inbound, res, &x.dest, x.decision, x.response.traffic.Received)
			return nil
		}
		fallthrough // ReverseProxy would end the upload
	case res.ContentLength == -1:
		x.response.rechecked = x.p.streams.newRecheckedBody(res, x.p.streams.newStreamAuthn(x.inbound, &x.dest, x.decision))
	}
	if res.Body != http.NoBody {
		x.response.download = countedBody{ReadCloser: res.Body, bytes: x.response.traffic.Received}
		res.Body = &x.response.download
	}
	return nil
}

// failed answers when the upstream did not: a client that went away gets
// nothing, anybody else a 503 that names the shard and no address.
func (x *exchange) failed(w http.ResponseWriter, r *http.Request, err error) {
	if x.upload != nil && x.upload.timedOut() && !x.response.headerWritten {
		x.refuseBody(w, apistatus.BodyTimeout())
		return
	}
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	if x.upload != nil && !x.response.headerWritten {
		if broken := x.upload.brokenBy(); broken != nil {
			x.refuseBody(w, apistatus.BadRequest("the body of the request could not be read: %s", clip.Clone(broken.Error(), 200)))
			return
		}
	}
	x.p.config.Metrics.NotForwarded(x.dest.Kind, x.dest.Shard, err)
	what := x.dest.Name()
	x.p.failures.report(err, "Request could not be forwarded", "to", what, "host", x.dest.Base.Host, "asked", clip.Clone(x.dest.Asked(), 200), "method", r.Method)
	if x.response.headerWritten {
		panic(http.ErrAbortHandler) // an upgrade that failed half-way
	}
	var untrusted *tls.CertificateVerificationError
	switch mounted := x.dest.Kind == destination.MountedHost; {
	case mounted && errors.As(err, &untrusted):
		x.answer(w, apistatus.Unusable(what, "its certificate could not be verified"))
	case mounted && errors.Is(err, egress.ErrAnswer):
		x.answer(w, apistatus.Unusable(what, "its answer is larger than the proxy allows"))
	default:
		x.answer(w, apistatus.Unreachable(what, x.p.failing(x.dest.Shard)))
	}
}

// failing is for how long the proxy has been unable to watch anything on a shard; 0: it can now,
// or the shard is not known.
func (p *Proxy) failing(shard string) time.Duration {
	if p.config.Routing.ShardFailingSince == nil {
		return 0
	}
	if since := p.config.Routing.ShardFailingSince(shard); !since.IsZero() {
		return p.config.Now().Sub(since)
	}
	return 0
}
