package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"frontproxy/lookup"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/requestinfo"
)

// ServeHTTP serves a request in these steps, which serveHTTP, serve, authorize and respond call
// in this order:
//
//   - health checks: local, unauthenticated, never forwarded (package healthz); CORS
//   - checkAddressRate: a client address that sends requests too fast gets 429 (rates.go)
//   - localPath: is it a page of the proxy's own, /metrics and the like, or where to log in?
//     admitLocal then says who may read it, and answerLocally follows (localendpoints.go)
//   - locate: can the request be read in one way only, and where does it go? (package routing)
//   - admit: who is asking, or why nobody is admitted (admit.go); meanwhile the request's
//     memory is charged to the client's address (charges.go)
//   - limitCaller: a workspace or a user that sends requests too fast is refused (rates.go), and
//     a stream's request that is too large to keep (streamsize.go); memory is charged to the
//     user instead (charges.go)
//   - checkResourceVersion: a version of a shard that the cluster has left is refused
//     (resourceversion.go)
//   - answerLocally: pages of the proxy's own and of workspaces, and TokenReviews
//     (localendpoints.go)
//   - forward: a small body is read, and a place among running requests taken, else the
//     answer is 429; URL and identity headers are written; the answer is looked at
//     (forward.go)
//   - copyWatch: the body of a watch, after the other steps have returned (watch.go)
//   - finish: panics are contained, the request is counted and logged (finish.go)
//
// With audit on, what the steps before answerLocally found out is recorded around answerLocally
// and forward; with tracing on, locate, admit and forward have a span each (audit.go, trace.go).
// docs/architecture.md numbers the files that an ordinary request leads through.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if sizeOfTrailers(r) > maxTrailers {
		panic(http.ErrAbortHandler) // an answer would keep them in memory until it is read
	}
	if r.ProtoMajor == 2 {
		p.serveHTTP2(w, r)
		return
	}
	if r.ContentLength == 0 {
		p.serveHTTP(w, r)
		return
	}
	// net/http waits for the body before it answers a health check or a CORS preflight, and nobody is
	// charged for these. newRequestBody lifts this limit.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(ownAnswerTimeout)) // a writer that has none is a test's
	if c := requestConnection(r); c != nil {
		c.head.inBody.Store(true)
	}
	p.serveHTTP(w, r)
	forgetHead(r) // net/http may wait for the rest of the body, and keeps r
}

// serveHTTP2 serves a request over HTTP/2.
func (p *Proxy) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	s := &http2Writer{ResponseWriter: w, progressDeadline: progressDeadline{timeout: p.config.ProgressTimeout, quota: progressBytes}}
	s.cut = func() { _ = http.NewResponseController(w).SetWriteDeadline(past) }
	defer s.stop()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // lifts ownAnswerTimeout
	p.serveHTTP(s, r)
	if s.unflushed && r.Context().Err() == nil { // else the stream has ended, and there is nothing to bound
		s.boundLastFlush()
		forget(r)
	}
}

func (p *Proxy) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if p.health.Serve(w, r) {
		return
	}
	if p.cors == nil {
		p.serve(w, r)
		return
	}
	p.cors.ServeHTTP(w, r)
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	x := p.exchanges.Get().(*exchange)
	x.start = p.config.Now()
	p.inFlight.Add(1)
	if r.ContentLength != 0 {
		x.charges = &charges{} // the transport may read on when x serves another request already
		x.upload = newRequestBody(w, r, p.config.ProgressTimeout, x.charges)
		r = r.WithContext(r.Context()) // a copy: net/http inspects the Body of its own
		r.Body, r.Trailer = x.upload, nil
	}
	defer func() {
		v := recover()
		if x != nil && p.finish(x, w, r, v) {
			panic(http.ErrAbortHandler)
		}
	}()
	if p.config.Audit != nil || p.tracer != nil || p.config.Log.V(3).Enabled() {
		x.id, x.span, r = p.observe(r, x.start)
	}
	status := x.authorize(r) //nolint:contextcheck // reading a RequestInfo needs no context
	if p.config.Audit != nil {
		x.respondAudited(w, r, status)
		return
	}
	x.respond(w, r, status)
	if x.copyWatch(w) {
		x = nil // its own goroutine's now
	}
}

// authorize finds out where the request goes and who is asking. Nil: it is admitted; else
// the Status is its answer.
func (x *exchange) authorize(r *http.Request) *metav1.Status {
	x.dest.APIPath = r.URL.Path
	if status := x.p.rates.checkAddressRate(r, x.charges); status != nil {
		return status
	}
	if x.localPath = x.p.localPath(r); x.localPath != "" {
		return x.admitLocal(r)
	}
	if status := x.locate(r); status != nil {
		return status
	}
	if status := x.admit(r); status != nil {
		return status
	}
	if status := x.limitCaller(r); status != nil {
		return status
	}
	return x.checkResourceVersion(r)
}

// locate finds out where the request goes, and its RequestInfo there.
func (x *exchange) locate(r *http.Request) *metav1.Status {
	status := x.p.withSpan(r, "lookup", func(r *http.Request) (status *metav1.Status) {
		x.upgrade, x.dest, status = x.p.resolve(r)
		return status
	})
	if status != nil {
		return status
	}
	x.info = requestinfo.Of(r.Method, x.dest.APIPath, r.URL.RawQuery)
	x.long = requestinfo.LongRunning(x.info)
	return nil
}

// resolve finds out whether the request can be read in one way only, whether it asks
// for an upgrade, and where it goes. A non-nil Status answers the request; what was found out
// before that is set all the same.
func (p *Proxy) resolve(r *http.Request) (upgrade bool, to destination.Destination, status *metav1.Status) {
	to.APIPath = r.URL.Path
	path, err := lookup.RawPath(r)
	if err != nil {
		return false, to, apistatus.ForLookup(err, r)
	}
	if err = requestinfo.CheckFraming(r); err != nil {
		return false, to, apistatus.BadRequest("%v", err)
	}
	if upgrade, err = requestinfo.Upgrade(r); err != nil {
		return false, to, apistatus.BadRequest("%v", err)
	}
	to, err = p.router.Resolve(r, path)
	if p.streams.mustListAgain(r, &to, err) {
		return upgrade, to, apistatus.ExpiredByMove()
	}
	if err != nil {
		return upgrade, to, apistatus.ForDestination(err, r)
	}
	return upgrade, to, nil
}

// limitCaller refuses a request of an admitted caller that exceeds a rate, is too large to be
// kept as long as a stream lasts, or exceeds its user's share of the memory.
func (x *exchange) limitCaller(r *http.Request) *metav1.Status {
	target, workspace := rateTarget(&x.dest)
	if status := x.p.rates.checkCallerRate(r, x.charges, x.decision, target, workspace); status != nil {
		return status
	}
	if x.long || x.upgrade {
		if status := checkStreamSize(r, &x.dest, x.decision); status != nil {
			return status
		}
		if status := x.charges.chargeStream(&x.p.limit, x.decision.User); status != nil {
			return status
		}
	}
	return x.charges.chargeCaller(x.decision.User, &x.dest)
}

// respond answers with status; when there is none, with what the proxy answers by itself or by
// forwarding.
func (x *exchange) respond(w http.ResponseWriter, r *http.Request, status *metav1.Status) {
	if status != nil {
		if status.Code == http.StatusUnauthorized {
			x.p.challenge(w, r, &x.dest)
		}
		x.answer(w, status)
		return
	}
	switch {
	case x.answerLocally(w, r):
	case x.p.tracer != nil:
		x.forwardInSpan(w, r)
	default:
		x.forward(w, r)
	}
}

// answer answers with the Status s, and sets what headers of it depend on the request.
func (x *exchange) answer(w http.ResponseWriter, s *metav1.Status) {
	x.code = int(s.Code)
	if x.id != "" {
		w.Header().Set(auditinternal.HeaderAuditID, x.id)
	}
	if s.Code == http.StatusTooManyRequests && x.upload.remains() {
		w.Header().Set("Connection", "close") // net/http would wait for the body first
	}
	apistatus.Warn(w.Header(), s, x.dest.Asked())
	apistatus.Write(w, s)
}

func checkOrigins(origins []string) error {
	for _, o := range origins {
		if o == "" {
			return errors.New("--cors-allowed-origins: a value is empty, which would match every origin; remove it")
		}
		if _, err := regexp.Compile(o); err != nil {
			return fmt.Errorf("--cors-allowed-origins: %q is not a regular expression: %w", o, err)
		}
	}
	return nil
}
