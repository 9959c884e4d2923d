package proxy

import (
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"frontproxy/internal/clip"
	"frontproxy/proxy/destination"
)

// maxRequestID bounds, in bytes, the id that a client may bring.
const maxRequestID = 64

// Bounds of what a span holds of its request, in bytes.
const maxSpanName, maxSpanPath, maxTraceState = 32, 4 << 10, 512

// traceContext is how a span's context travels (W3C Trace Context).
var traceContext propagation.TraceContext

// observe gives a request an ID and, if tracing is on, starts its span and returns r with it;
// else the span is nil. The ID is Kubernetes' Audit-ID: a client may send one, and the shard
// gets it, so that its events have it, too.
//
// The span starts a separate trace, linked to the client's: clients are not trusted
// and must not choose what is sampled.
func (p *Proxy) observe(r *http.Request, start time.Time) (id string, span trace.Span, traced *http.Request) {
	id = r.Header.Get(auditinternal.HeaderAuditID)
	if !plainID(id) {
		id = string(uuid.NewUUID())
	}
	if p.tracer == nil {
		return id, nil, r
	}
	options := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(start)}
	ctx := traceContext.Extract(r.Context(), clientTrace(r.Header))
	if client := trace.SpanContextFromContext(ctx); client.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: client}))
	}
	ctx, span = p.tracer.Start(r.Context(), clip.Clone(r.Method, maxSpanName), options...)
	return id, span, r.WithContext(ctx)
}

// clientTrace is what a client says of its trace, in copies that spans may keep:
// they wait in a buffer. A tracestate that is longer than what must be passed on
// (W3C Trace Context, section 3.3.1.5) is left out.
func clientTrace(h http.Header) propagation.MapCarrier {
	carrier := propagation.MapCarrier{"traceparent": strings.Clone(h.Get("Traceparent"))}
	if state := h.Get("Tracestate"); len(state) <= maxTraceState {
		carrier["tracestate"] = strings.Clone(state)
	}
	return carrier
}

// plainID reports whether a client's id can stand in logs, events and headers.
func plainID(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID
}

// withSpan calls do, which is one step of a request, with a span if tracing is on.
func (p *Proxy) withSpan(r *http.Request, name string, do func(*http.Request) *metav1.Status) *metav1.Status {
	if p.tracer == nil {
		return do(r)
	}
	ctx, span := p.tracer.Start(r.Context(), name)
	defer span.End()
	status := do(r.WithContext(ctx))
	if status != nil {
		span.SetAttributes(attribute.Int("http.response.status_code", int(status.Code)))
	}
	return status
}

// forwardInSpan is forward with a span, and copyWatch. It is a function of its own because
// its variables take stack, which a watch would keep for as long as it lasts.
func (x *exchange) forwardInSpan(w http.ResponseWriter, r *http.Request) {
	ctx, span := x.p.tracer.Start(r.Context(), "upstream", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("front-proxy.to", x.dest.Kind.String())))
	defer span.End()
	x.forward(w, r.WithContext(ctx))
	x.copyWatch(w)
}

// propagateTrace sends the server at d the request's ID and trace; an external host gets
// neither. An empty id: there is none.
func (p *Proxy) propagateTrace(out *http.Request, id string, d *destination.Destination) {
	if id == "" || d.Kind == destination.MountedHost {
		return
	}
	out.Header[auditinternal.HeaderAuditID] = []string{id}
	if p.tracer != nil {
		traceContext.Inject(out.Context(), propagation.HeaderCarrier(out.Header))
	}
}

// endSpan ends the request's span, if it has one. It names no user and no token.
func (rec *record) endSpan(r *http.Request) {
	if rec.span == nil {
		return
	}
	defer rec.span.End()
	if !rec.span.IsRecording() {
		return
	}
	if rec.dest.Pattern != "" {
		rec.span.SetName(clip.Clone(r.Method, maxSpanName) + " " + rec.dest.Pattern)
	}
	rec.span.SetAttributes(
		attribute.String("http.request.method", clip.Clone(r.Method, maxSpanName)),
		attribute.String("url.path", clip.Clone(r.URL.Path, maxSpanPath)),
		attribute.Int("http.response.status_code", rec.code),
		attribute.String("audit-id", rec.id),
		attribute.String("front-proxy.cluster", rec.dest.Target.Cluster),
		attribute.String("front-proxy.shard", rec.dest.Shard),
	)
	if d := rec.decision; d != nil {
		rec.span.SetAttributes(attribute.String("front-proxy.decision", d.Result()), attribute.String("front-proxy.authenticator", d.Authenticator), attribute.String("front-proxy.refusal", d.ID))
	}
	if rec.code >= http.StatusInternalServerError {
		rec.span.SetStatus(codes.Error, http.StatusText(rec.code))
	}
}
