package proxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/identityheaders"
)

// exchange is one request on its way, and everything that was found out about
// it. It holds the ReverseProxy that forwards the request, whose callbacks so
// need no context to find it; exchanges are pooled, for the callbacks cost more
// upstreamKind make than the rest. Nothing may keep one after the handler has returned.
type exchange struct {
	p  *Proxy
	rp httputil.ReverseProxy

	start     time.Time
	id        string           // of the request; empty when nobody looks
	span      trace.Span       // nil when nobody looks
	inbound   *http.Request    // as it came; set when it is forwarded
	watch     *watch           // its answer, when that is one; else nil
	detached  *detachedContext // what in's context is, when a watch may be detached; else nil
	localPath string           // the path of the proxy's own that is asked for; usually empty
	upgrade   bool
	long      bool // long-running, as an API server sees it
	crowded   bool // there was no room to wait for who is asking
	places    *places
	own       places       // what places is when the request has no body
	upload    *pacedBody   // nil: the request has no body
	writer    placedWriter // where the answer goes
	endless   *endless     // the answer, when it may be one; else nil
	dest      destination.Destination
	decision  *authn.Decision
	// told is who the server is told is asking; nil: nobody, or the credentials say it.
	told   user.Info
	status *metav1.Status // what audit carries through
	// unrecorded is the request as it came, when audit is shown another; else nil.
	unrecorded *http.Request
	// code is the answer's; 0 until there is one.
	code int
	// headerWritten: the upstream's answer is being written, so that no other can.
	headerWritten bool
	// traffic is where the bytes to and from the shard are counted; empty for
	// other upstreams.
	traffic traffic
	// download counts the answer's body. Only the handler reads it, unlike the
	// request's body, so it can be part of what is pooled.
	download countedBody
}

func (p *Proxy) newExchange() *exchange {
	x := &exchange{p: p}
	x.places = &x.own
	x.rp = httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		ModifyResponse: x.modifyResponse,
		ErrorHandler:   x.failed,
		ErrorLog:       p.errorLog,
	}
	return x
}

// reset forgets the request.
func (x *exchange) reset() {
	p, rp := x.p, x.rp
	*x = exchange{p: p, rp: rp}
	x.places = &x.own
	x.rp.Transport, x.rp.BufferPool = nil, nil
}

// forward sends the request to where it was decided to go, and the answer back.
func (x *exchange) forward(w http.ResponseWriter, r *http.Request) {
	x.rp.BufferPool = x.p.buffers
	r = x.withDetachedContext(r)
	x.inbound = r
	held := r
	if !x.upgrade {
		if held = x.bufferRequest(w, r); held == nil {
			return
		}
	}
	if status := x.run(); status != nil {
		x.answer(w, status)
		return
	}
	x.writer = placedWriter{w, x}
	if x.upgrade {
		x.tunnel(&x.writer, r)
		return
	}
	x.rp.ServeHTTP(&x.writer, held)
}

// tunnel is forward for upgrades.
func (x *exchange) tunnel(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer x.p.streams.remove(x.p.streams.add(upgradeStream, cancel, x.streamAuthn(r)))
	x.rp.ServeHTTP(w, r.WithContext(ctx))
}

// bufferRequest has a small body read; nil: it did not come, and that was answered.
func (x *exchange) bufferRequest(w http.ResponseWriter, r *http.Request) *http.Request {
	held, err := bufferBody(r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		x.tooLate(w)
		return nil
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the client broke off: nobody reads an answer
	}
	return held
}

// tooLate answers a client whose body did not come.
func (x *exchange) tooLate(w http.ResponseWriter) {
	if x.upload.http1 { // over HTTP/2 only the stream is lost
		w.Header().Set("Connection", "close")
	}
	x.answer(w, apistatus.New(http.StatusRequestTimeout, metav1.StatusReasonTimeout, "the request's body did not arrive in time"))
}

// rewrite makes the outgoing request. ReverseProxy has removed the hop-by-hop
// headers by now, so nothing that is set here can be removed again.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	x.dest.SetURL(out.URL, x.dest.Path)
	out.URL.RawQuery = in.URL.RawQuery
	out.Trailer = nil
	if shard := x.dest.Shard; shard != "" {
		x.traffic = x.p.metrics.traffic.get(shard)
	}
	if x.traffic.sent != nil && out.Body != nil {
		// The transport may read on when the handler has returned.
		out.Body = &countedBody{ReadCloser: out.Body, bytes: x.traffic.sent}
	}
	restoreForwarding(in, out)
	x.dest.Headers.Clear(out.Header)
	x.propagateTrace(out)
	if x.dest.Kind == destination.MountedHost {
		x.rewriteForMount(in, out)
		return
	}
	if u := x.told; u != nil {
		identityheaders.DropCredentials(out.Header)
		if x.decision.AssertedBy != "" {
			x.dest.Headers.SetUnchanged(out.Header, u)
		} else {
			x.dest.Headers.Set(out.Header, u)
		}
	}
}

// restoreForwarding puts back what ReverseProxy removed, for shards see these
// headers as a chain of proxies left them, and adds the client's address.
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

// modifyResponse sees the upstream's answer before the client does.
func (x *exchange) modifyResponse(res *http.Response) error {
	x.headerWritten, x.code = true, res.StatusCode
	if res.StatusCode != http.StatusSwitchingProtocols { // whose body is the tunnel
		res.Body = x.upload.answered(res.Body)
	}
	if x.dest.Trust == destination.Stranger {
		sanitizeResponse(res)
	}
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		x.checkIdentityRejected(res)
	}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		x.places.leave() // a tunnel needs none
		return nil
	case res.ContentLength == -1 && res.StatusCode == http.StatusOK && x.long:
		x.places.leave()
		if !x.uploads() {
			x.captureWatchBody(res)
			return nil
		}
		x.followEndless(res) // ReverseProxy would end the upload
	case res.ContentLength == -1:
		x.followEndless(res)
	}
	if res.Body != http.NoBody {
		x.download = countedBody{ReadCloser: res.Body, bytes: x.traffic.received}
		res.Body = &x.download
	}
	return nil
}

// uploads says whether more of the request's body may come, and somebody may want it.
func (x *exchange) uploads() bool { return x.inbound.Method != http.MethodGet && x.upload.expects() }

// failed answers when the upstream did not: a client that went away gets
// nothing, anybody else a 503 that names the shard and no address.
func (x *exchange) failed(w http.ResponseWriter, r *http.Request, err error) {
	if x.upload != nil && x.upload.was() && !x.headerWritten {
		x.tooLate(w)
		return
	}
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	x.p.metrics.upstreamError(x.dest.Kind, x.dest.Shard, err)
	what := x.dest.Name()
	if x.p.failures.AllowN(x.p.now(), 1) {
		x.p.log.Error(err, "Request could not be forwarded; the number of these lines is limited", "to", what, "method", r.Method)
	}
	if x.headerWritten {
		panic(http.ErrAbortHandler) // an upgrade that failed half-way
	}
	x.answer(w, apistatus.Unreachable(what))
}
