package proxy

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/audit"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"frontproxy/authn"
	"frontproxy/internal/clip"
)

// Audit records requests the Kubernetes way: one event a stage, as the policy
// asks. Requests and answers are never recorded with their bodies, whatever the
// level: the shards, which read them, do that.
type Audit struct {
	// Sink gets the events. Required.
	Sink audit.Sink
	// Policy says how much of a request is recorded. It sees the path below the
	// cluster and the identity that is forwarded, as a shard's policy would.
	// Required.
	Policy audit.PolicyRuleEvaluator
}

// Annotations of every event. What is not known is left out.
const (
	annotationCluster       = "front-proxy.kcp.io/cluster"        // the logical cluster
	annotationPath          = "front-proxy.kcp.io/path"           // the cluster path as the client wrote it
	annotationShard         = "front-proxy.kcp.io/shard"          // where it went
	annotationAuthenticator = "front-proxy.kcp.io/authenticator"  // the kind that admitted it
	annotationAssertedBy    = "front-proxy.kcp.io/asserted-by"    // the shard's certificate that named the user, as shard=common name
	annotationDecision      = "front-proxy.kcp.io/decision"       // admitted, passed-through, refused, undecided
	annotationRefusal       = "front-proxy.kcp.io/refusal"        // the id of the refusal, as the client saw it
	annotationReasons       = "front-proxy.kcp.io/reasons"        // what each authenticator said, on refusals
	annotationReview        = "front-proxy.kcp.io/review"         // how a TokenReview was decided
	annotationReviewReasons = "front-proxy.kcp.io/review-reasons" // what each authenticator said of the token, unless it was accepted
)

// maxReasons bounds what a refusal adds to an event, in bytes: part of it is
// the text of tenants' claim rules.
const maxReasons = 2048

// maxRecordedURI bounds what an event holds of a request's path, and of its
// query, and maxRecordedSources the X-Forwarded-For header that it lists, in
// bytes. No object's path is longer: names have 253 bytes at most.
const maxRecordedURI, maxRecordedSources = 4 << 10, 1 << 10

// respondAudited is respond, recorded by apiserver's audit: by now all that an event says is
// known.
func (x *exchange) respondAudited(w http.ResponseWriter, r *http.Request, status *metav1.Status) {
	ctx := audit.WithAuditContext(r.Context())
	audit.WithAuditID(ctx, types.UID(x.id))
	ctx = genericapirequest.WithReceivedTimestamp(ctx, x.start)
	ctx = genericapirequest.WithRequestInfo(ctx, x.requestInfo(r))
	if d := x.decision; d != nil && d.User != nil {
		ctx = genericapirequest.WithUser(ctx, d.User)
	}
	x.annotate(ctx)
	r = r.WithContext(ctx)
	long := x.upgrade || x.long // the answer has no end of its own
	end := http.HandlerFunc(func(w http.ResponseWriter, shown *http.Request) {
		x.respond(w, r.WithContext(shown.Context()), status)
		x.copyWatch(w)
	})
	audited := genericapifilters.WithAudit(end, x.p.config.Audit.Sink, x.p.config.Audit.Policy, func(*http.Request, *genericapirequest.RequestInfo) bool { return long })
	audited.ServeHTTP(w, recordable(r))
	if x.code == 0 { // it could not be recorded, and so was not served
		x.code = http.StatusInternalServerError
	}
}

// recordable is r as events may show it: r itself, or a copy that has no
// credentials in its query and no text beyond the bounds. Events wait in
// buffers, thousands of them, and what they hold of a request keeps the whole of
// its line.
func recordable(r *http.Request) *http.Request {
	query, secret := withoutSecrets(r.URL.RawQuery)
	sources := 0
	for _, v := range r.Header["X-Forwarded-For"] {
		sources += len(v)
	}
	if !secret && !longLine(r) && sources <= maxRecordedSources {
		return r
	}
	out := r.WithContext(r.Context()) // a copy
	shown := *r.URL
	shown.RawQuery = query
	if longLine(r) {
		shown.Path, shown.RawPath, shown.RawQuery = clip.Clone(shown.Path, maxRecordedURI), "", clip.Clone(query, maxRecordedURI)
		out.Method = clip.Clone(r.Method, maxRecordedURI)
	}
	out.URL = &shown
	if sources > maxRecordedSources { // an event has an entry for each address
		out.Header = maps.Clone(r.Header)
		out.Header["X-Forwarded-For"] = []string{clip.Clone(r.Header["X-Forwarded-For"][0], maxRecordedSources)}
	}
	return out
}

// longLine says that a request's line is longer than what events hold of it. Its
// method, path and query are parts of it.
func longLine(r *http.Request) bool {
	return len(r.Method)+len(r.RequestURI) > maxRecordedURI
}

// withoutSecrets is a query without the values that carry credentials elsewhere
// (RFC 6750, section 2.3, and its like). Neither the proxy nor kcp reads credentials
// there, but a client may send them. False: the query has none.
func withoutSecrets(query string) (string, bool) {
	if !strings.Contains(strings.ToLower(query), "token") && !strings.Contains(query, "%") {
		return query, false
	}
	found := false
	parts := strings.Split(query, "&")
	for i, part := range parts {
		key, _, has := strings.Cut(part, "=")
		name, err := url.QueryUnescape(key)
		if err == nil && has && secretQueries[strings.ToLower(name)] {
			parts[i], found = key+"=REDACTED", true
		}
	}
	return strings.Join(parts, "&"), found
}

var secretQueries = map[string]bool{"access_token": true, "id_token": true, "refresh_token": true, "token": true, "bearer_token": true}

var apiPrefixes = &genericapirequest.RequestInfoFactory{APIPrefixes: sets.NewString("apis", "api"), GrouplessAPIPrefixes: sets.NewString("api")}

// requestInfo reads the request as the shard will: by the path below the cluster.
func (rec *record) requestInfo(r *http.Request) *genericapirequest.RequestInfo {
	path, err := url.PathUnescape(rec.dest.APIPath)
	if err != nil {
		path = r.URL.Path
	}
	method := r.Method
	if longLine(r) {
		path, method = clip.Clone(path, maxRecordedURI), clip.Clone(method, maxRecordedURI)
	}
	info, err := apiPrefixes.NewRequestInfo(&http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: infoQuery(r.URL.RawQuery)}, Header: r.Header})
	if err != nil {
		return &genericapirequest.RequestInfo{Path: path, Verb: strings.ToLower(method)}
	}
	info.Name = clip.Clone(info.Name, maxRecordedURI) // it may be a field selector's, from the query
	return info
}

// infoQuery has what a RequestInfo has of a query. The factory logs queries that it cannot
// read, as they are, so it gets none of these.
func infoQuery(query string) string {
	values, _ := url.ParseQuery(query) // as (*url.URL).Query does
	out := url.Values{}
	if watch := values["watch"]; len(watch) > 0 {
		out.Set("watch", watch[0])
	}
	selector := values.Get("fieldSelector")
	if _, err := fields.ParseSelector(selector); err == nil && selector != "" {
		out.Set("fieldSelector", selector)
	}
	return out.Encode()
}

// annotate adds the annotations of the request to the event in ctx.
func (rec *record) annotate(ctx context.Context) {
	add := func(key, value string) {
		if value != "" {
			audit.AddAuditAnnotation(ctx, key, clip.Clone(value, maxRecordedURI))
		}
	}
	add(annotationCluster, rec.dest.Target.Cluster)
	add(annotationPath, rec.dest.ClusterPath)
	add(annotationShard, rec.dest.Shard)
	d := rec.decision
	if d == nil {
		return
	}
	add(annotationDecision, d.Result())
	add(annotationAuthenticator, d.Authenticator)
	if d.AssertedBy != "" {
		add(annotationAssertedBy, rec.dest.Shard+"="+d.AssertedBy)
	}
	add(annotationRefusal, d.ID)
	add(annotationReasons, reasons(d))
}

// reasons are the verdicts of a refusal in a line; of a Decision that admits,
// empty.
func reasons(d *authn.Decision) string {
	var all []string
	for _, v := range d.Verdicts {
		if v.Reason != "" {
			all = append(all, v.Authenticator+": "+v.Reason)
		}
	}
	return clip.Clone(strings.Join(all, "; "), maxReasons)
}
