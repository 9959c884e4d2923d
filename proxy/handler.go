package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"frontproxy/authn"
	"frontproxy/internal/protectedresource"
	"frontproxy/lookup"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/requestinfo"
)

// ServeHTTP is the whole way of a request, in this order:
//
//  1. health checks: local, unauthenticated, never forwarded
//  2. CORS
//  3. recover, count, and one log line when it is over (serve, finish)
//     /metrics and the like, which the proxy answers itself (local)
//     Who asks where to log in is told then (logindiscovery)
//  4. hygiene: the target is a path, the upgrade is one that is served
//  5. the mapping, after a service account's cluster was put before its path
//  6. lookup: what cluster the path names, on which shard; mounts lead back to 5
//  7. Decide: who is asking, or why nobody is admitted; meanwhile the request
//     waits at the caller's expense (waiting.go)
//  8. forward: a small body is read, a place among running requests taken, or the
//     answer is 429; identity headers, the shard's transport
//  9. follow: the body of a watch, when the rest has returned
//
// With audit on, all that is known after 7 is recorded around 8; with tracing on,
// 4 to 6, 7, and 8 have a span each (audit.go, trace.go).
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		p.servePaced(w, r)
		return
	}
	p.serveHTTP(w, r)
}

func (p *Proxy) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if p.health.serve(w, r) {
		return
	}
	if p.cors == nil {
		p.serve(w, r)
		return
	}
	p.cors.ServeHTTP(w, r)
}

// withCORS puts Kubernetes' CORS filter before the rest; nil: there is none.
func (p *Proxy) withCORS(origins []string) http.Handler {
	if len(origins) == 0 {
		return nil
	}
	return genericfilters.WithCORS(http.HandlerFunc(p.serve), origins, nil, nil, nil, "true")
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	x := p.exchanges.Get().(*exchange)
	x.start = p.now()
	p.inFlight.Add(1)
	if r.ContentLength != 0 {
		x.places = &places{} // the transport may read on when x is another's
		x.upload = newPacedBody(w, r, p.progressTimeout, x.places)
		r = r.WithContext(r.Context()) // net/http looks at what the body of its own is
		r.Body = x.upload
	}
	defer func() {
		v := recover()
		if x != nil && p.finish(x, w, r, v) {
			panic(http.ErrAbortHandler)
		}
	}()
	if p.recorded != nil || p.tracer != nil || p.log.V(3).Enabled() {
		r = x.observe(r)
	}
	status := x.authorizeRequest(r)
	if p.recorded != nil {
		x.record(w, r, status)
		return
	}
	x.respond(w, r, status)
	if x.copyWatch(w) {
		x = nil // another's now
	}
}

// authorizeRequest finds out where the request goes and who is asking; nil: it may.
func (x *exchange) authorizeRequest(r *http.Request) *metav1.Status {
	x.dest.APIPath = r.URL.Path
	if x.localPath = x.ownPath(r); x.localPath != "" {
		return x.waits(r, x.authorizeLocal)
	}
	if x.asksForLogin(r) {
		x.localPath = protectedresource.WellKnownPath
		return nil
	}
	if status := x.withSpan(r, "lookup", x.resolveTarget); status != nil {
		return status
	}
	x.long = requestinfo.LongRunning(r.Method, x.dest.APIPath, r.URL.RawQuery)
	if status := x.waits(r, x.decide); status != nil {
		return status
	}
	if status := x.checkStreamSize(r); status != nil {
		return status
	}
	return x.admitted()
}

// waits finds out who is asking, for which the request may have to wait.
func (x *exchange) waits(r *http.Request, do func(*http.Request) *metav1.Status) *metav1.Status {
	x.acquireInFlight(r)
	if !x.crowded {
		return x.withSpan(r, "authn", do)
	}
	ctx, cancel := context.WithCancel(r.Context())
	cancel() // only what is known at once counts
	status := x.withSpan(r.WithContext(ctx), "authn", do)
	if status != nil && status.Code == http.StatusServiceUnavailable {
		return apistatus.TooManyRequests("your address has, in this workspace,")
	}
	return status
}

// respond answers with status; when there is none, with a page of the proxy's
// own or by forwarding.
func (x *exchange) respond(w http.ResponseWriter, r *http.Request, status *metav1.Status) {
	if status != nil {
		x.challenge(w, r, status)
		x.answer(w, status)
		return
	}
	if x.localPath != "" {
		x.serveLocal(w, r)
		return
	}
	if x.explainsWorkspace(w, r) {
		return
	}
	x.forwardTraced(w, r)
}

// finish contains the panic v, logs the request and gives the exchange back.
// True: the answer is cut short, as a panic of http.ErrAbortHandler has it.
func (p *Proxy) finish(x *exchange, w http.ResponseWriter, r *http.Request, v any) (cut bool) {
	if v != nil && v != http.ErrAbortHandler { //nolint:errorlint // a sentinel, never wrapped
		p.panics.Add(1)
		p.log.Error(fmt.Errorf("panic: %v", v), "Contained a panic", "method", r.Method, "path", r.URL.Path, "stack", stack())
		if !x.headerWritten && x.code == 0 {
			x.answer(w, apistatus.InternalError())
			v = nil
		}
	}
	if x.download.broken && r.Context().Err() == nil && (x.upload == nil || !x.upload.givenUp.Load()) {
		p.metrics.upstreamErrors.WithLabelValues(x.dest.Kind.String(), x.dest.Shard, "response_interrupted").Inc()
	}
	x.closeWatch()
	p.metrics.request(x, r, p.now().Sub(x.start))
	p.inFlight.Add(-1)
	x.places.leave()
	if x.upload != nil {
		x.upload.answerOver()
	}
	if x.upload != nil && w != nil {
		x.upload.leave(w)
	}
	x.endless.end()
	if log := p.log.V(3); log.Enabled() {
		x.log(log, r)
	}
	x.recordSpan(r)
	x.reset()
	p.exchanges.Put(x)
	return v != nil
}

// contain is to be deferred: a panic ends nothing but its goroutine.
func (p *Proxy) contain() {
	if v := recover(); v != nil {
		p.panics.Add(1)
		p.log.Error(fmt.Errorf("panic: %v", v), "Contained a panic at the end of a request", "stack", stack())
	}
}

func (x *exchange) answer(w http.ResponseWriter, s *metav1.Status) {
	x.code = int(s.Code)
	if x.id != "" {
		w.Header().Set(auditinternal.HeaderAuditID, x.id)
	}
	if s.Code == http.StatusTooManyRequests && x.upload.remains() {
		w.Header().Set("Connection", "close") // net/http would wait for the body first
	}
	apistatus.Write(w, s)
}

// resolveTarget finds out where the request goes: steps 4 to 6.
func (x *exchange) resolveTarget(r *http.Request) *metav1.Status {
	path, err := lookup.RawPath(r)
	if err != nil {
		return apistatus.ForLookup(err, r)
	}
	if err = requestinfo.CheckFraming(r); err != nil {
		return apistatus.BadRequest("%v", err)
	}
	if x.upgrade, err = requestinfo.Upgrade(r); err != nil {
		return apistatus.BadRequest("%v", err)
	}
	if x.dest, err = x.p.router.Resolve(r, path); err != nil {
		return apistatus.ForDestination(err, r)
	}
	return nil
}

// passedThrough is the decision for mappings whose backend authenticates.
var passedThrough = &authn.Decision{PassThrough: true, Status: http.StatusOK}

// errNobody is a Decision that admits nobody in particular, which no correct
// Decider makes: forwarded, it would be whom the shard takes it for.
var errNobody = errors.New("the decision admits a request without a user")

// authenticate has it decided who is calling.
func (x *exchange) authenticate(r *http.Request) {
	d := x.p.decider.Decide(r, &x.dest.Target)
	if d.User != nil && d.User.GetName() == "" || d.User == nil && !d.PassThrough && d.Status == http.StatusOK {
		panic(errNobody)
	}
	x.decision = d
	x.p.metrics.decision(d)
}

// decide asks who is calling, and whom the server is told of.
func (x *exchange) decide(r *http.Request) *metav1.Status {
	if x.dest.Trust == destination.PassThrough {
		x.decision = passedThrough
	} else {
		x.authenticate(r)
	}
	if x.p.owner != nil && x.decision.ServiceAccount {
		switch creates, err := x.createsWorkspace(r); {
		case err != nil:
			return apistatus.ForLookup(err, r)
		case creates:
			x.decision = x.p.owner(x.decision)
		}
	}
	d := x.decision
	if d.User == nil && !d.PassThrough {
		return apistatus.Unauthenticated(d)
	}
	x.rp.Transport = x.dest.Transport
	switch x.dest.Trust {
	case destination.Listed:
		return x.tellHost()
	case destination.Trusted:
		x.told = d.User
	}
	return nil
}
