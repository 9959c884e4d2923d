package proxy

import (
	"net/http"
	"net/http/httputil"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apiserver/pkg/endpoints/request"

	"frontproxy/proxy/destination"
	"frontproxy/proxy/metrics"
)

// exchange is one request on its way through the steps: what each of them has found out
// (record), and what the next ones need. It holds the ReverseProxy that forwards the request,
// so that its callbacks find the exchange without a context. Exchanges are pooled, because
// creating the callbacks costs more than the rest. Nothing may keep one after finish, which
// resets it.
type exchange struct {
	p  *Proxy
	rp httputil.ReverseProxy

	record
	charges  *charges      // what it holds of shared limits
	own      charges       // where charges points when the request has no body
	upload   *requestBody  // nil: the request has no body
	inbound  *http.Request // as it came; set when it is forwarded
	response response
}

// record is what the steps have found out about a request. The log, metrics, audit events
// and spans report it.
type record struct {
	start time.Time
	id    string     // empty unless audit, tracing or logging needs it
	span  trace.Span // nil unless tracing is on
	code  int        // of the answer; 0 until there is one

	localPath string // the path of the proxy's own that is asked for; usually empty
	upgrade   bool
	info      *request.RequestInfo // as an API server sees it; nil until located
	long      bool                 // long-running, as an API server sees it
	dest      destination.Destination
	admission
	// reviewOutcome is how a TokenReview was decided; empty for other requests.
	reviewOutcome metrics.ReviewOutcome
}

// response is the state of the answer.
type response struct {
	// headerWritten: the upstream's answer is being written, so that no other can.
	headerWritten bool
	writer        clientWriter   // where the answer goes
	watch         *watch         // nil: the answer is not a watch
	watchContext  *watchContext  // the request's, if it may outlast the handler (hijackedwatch.go); else nil
	rechecked     *recheckedBody // nil: the body is not rechecked
	// traffic is where the bytes to and from the shard are counted; empty for
	// other upstreams.
	traffic metrics.Traffic
	// download counts the answer's body. Only the handler reads it, unlike the
	// request's body, so it can be part of what is pooled.
	download countedBody
}

// interrupted reports whether the answer's body broke off at the upstream.
func (a *response) interrupted() bool {
	return a.download.broken || a.watch != nil && a.watch.broken
}

// end frees what the answer holds.
func (a *response) end() {
	a.watch.close()
	if a.watchContext != nil {
		a.watchContext.end()
	}
	a.rechecked.end()
}

func (p *Proxy) newExchange() *exchange {
	x := &exchange{p: p}
	x.charges = &x.own
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
	x.charges = &x.own
	x.rp.Transport, x.rp.BufferPool = nil, nil
}
