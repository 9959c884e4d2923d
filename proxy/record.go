package proxy

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"

	"frontproxy/proxy/destination"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/requestinfo"
)

// record is what the steps have found out about a request. The log, metrics, audit events
// and spans tell it.
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
	// reviewOutcome is what became of the token that a TokenReview is about; else it is empty.
	reviewOutcome metrics.ReviewOutcome
}

// log writes the line of the request r, which took so long.
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

// labels are what metrics tell of the request r, which took so long.
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
