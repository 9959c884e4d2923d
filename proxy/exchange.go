package proxy

import (
	"net/http"
	"net/http/httputil"

	"frontproxy/proxy/metrics"
)

// exchange is one request's way: what each step has found out (record), and what the next
// ones need. It holds the ReverseProxy that forwards the request, so that its callbacks find
// the exchange without a context. Exchanges are pooled, because creating the callbacks costs
// more than the rest. Nothing may keep one after finish, which resets it.
type exchange struct {
	p  *Proxy
	rp httputil.ReverseProxy

	record
	charges *charges      // what it holds of shared limits
	own     charges       // what charges is when the request has no body
	upload  *requestBody  // nil: the request has no body
	inbound *http.Request // as it came; set when it is forwarded
	response
}

// response is the state of the answer.
type response struct {
	// headerWritten: the upstream's answer is being written, so that no other can.
	headerWritten bool
	writer        clientWriter   // where the answer goes
	watch         *watch         // nil: the answer is no watch
	watchContext  *watchContext  // the request's, if it may outlast the handler (hijackedwatch.go); else nil
	rechecked     *recheckedBody // nil: the body is no such one
	// traffic is where the bytes to and from the shard are counted; empty for
	// other upstreams.
	traffic metrics.Traffic
	// download counts the answer's body. Only the handler reads it, unlike the
	// request's body, so it can be part of what is pooled.
	download countedBody
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
