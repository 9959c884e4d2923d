package proxy

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/klog/v2"

	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/requestinfo"
)

// finish counts and logs the request, and the panic v that the handler has recovered (nil: none), and
// returns the exchange to the pool. True: the caller must abort the answer by a panic with
// http.ErrAbortHandler. w is nil for a hijacked watch.
func (p *Proxy) finish(x *exchange, w http.ResponseWriter, r *http.Request, v any) (cut bool) {
	if v != nil && v != http.ErrAbortHandler { //nolint:errorlint // a sentinel, never wrapped
		p.panics.Add(1)
		p.config.Log.Error(fmt.Errorf("panic: %v", v), "Contained a panic", "method", r.Method, "path", r.URL.Path, "stack", stack())
		if !x.response.headerWritten && x.code == 0 {
			x.answer(w, apistatus.InternalError())
			v = nil
		}
	}
	if x.response.interrupted() && r.Context().Err() == nil && (x.upload == nil || !x.upload.givenUp.Load()) {
		p.config.Metrics.ResponseInterrupted(x.dest.Kind, x.dest.Shard)
	}
	x.response.end()
	took := p.config.Now().Sub(x.start)
	p.config.Metrics.RequestDone(x.labels(r, took))
	x.charges.release()
	p.inFlight.Add(-1)
	if x.upload != nil {
		x.upload.answerOver()
	}
	if x.upload != nil && w != nil {
		x.upload.leave(w)
	}
	if log := p.config.Log.V(3); log.Enabled() {
		x.log(log, r, took)
	}
	x.endSpan(r)
	x.reset()
	p.exchanges.Put(x)
	return v != nil
}

// log writes the line about the request r.
func (rec *record) log(log klog.Logger, r *http.Request, took time.Duration) {
	values := []any{"requestID", rec.id, "method", r.Method, "path", r.URL.Path, "code", rec.code, "latency", took, "client", r.RemoteAddr}
	if rec.dest.Target.Cluster != "" {
		values = append(values, "cluster", rec.dest.Target.Cluster)
	}
	if rec.dest.Target.Shard != nil {
		values = append(values, "shard", rec.dest.Target.Shard.Name)
	}
	if d := rec.decision; d != nil {
		values = append(values, "by", d.Authenticator)
		if d.User != nil {
			values = append(values, "user", d.User.GetName())
		}
		if d.ID != "" {
			values = append(values, "refusal", d.ID, "because", reasons(d))
		}
	}
	if rec.reviewOutcome != "" {
		values = append(values, "review", rec.reviewOutcome)
	}
	log.Info("Request", values...)
}

// labels are what metrics count the request r by.
func (rec *record) labels(r *http.Request, took time.Duration) metrics.Request {
	m := metrics.Request{Method: r.Method, Code: rec.code, Shard: rec.dest.Shard, Took: took}
	if rec.info == nil {
		rec.info = requestinfo.Of(r.Method, rec.dest.APIPath, r.URL.RawQuery)
	}
	m.Verb = requestinfo.Verb(rec.info, rec.upgrade)
	if d := rec.decision; d != nil {
		if m.Authenticator = d.Authenticator; d.PassThrough {
			m.Authenticator = "pass-through"
		}
	}
	return m
}

// contain is deferred: a panic then ends only its goroutine.
func (p *Proxy) contain() {
	if v := recover(); v != nil {
		p.panics.Add(1)
		p.config.Log.Error(fmt.Errorf("panic: %v", v), "Contained a panic at the end of a request", "stack", stack())
	}
}
