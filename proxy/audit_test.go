package proxy

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/klog/v2"

	"frontproxy/authn"
	"frontproxy/authn/token"
	"frontproxy/proxy/destination"
)

// trail is a sink that keeps what is complete.
type trail struct {
	full bool // it takes nothing

	mu     sync.Mutex // guards events
	events []auditinternal.Event
}

func (s *trail) ProcessEvents(events ...*auditinternal.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		if e.Stage == auditinternal.StageResponseComplete {
			s.events = append(s.events, *e.DeepCopy())
		}
	}
	return !s.full
}

// recordedEvent is what a test compares.
type recordedEvent struct {
	Verb, URI, Resource, User string
	Code                      int32
	Annotations               map[string]string
}

func (s *trail) one(t *testing.T) recordedEvent {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) != 1 {
		t.Fatalf("%d events, want 1: %+v", len(s.events), s.events)
	}
	e := s.events[0]
	s.events = nil
	short := map[string]string{}
	for k, v := range e.Annotations {
		short[strings.TrimPrefix(k, "front-proxy.kcp.io/")] = v
	}
	got := recordedEvent{Verb: e.Verb, URI: e.RequestURI, User: e.User.Username, Code: e.ResponseStatus.Code, Annotations: short}
	if e.ObjectRef != nil {
		got.Resource = e.ObjectRef.Resource
	}
	return got
}

// everything but what nobody reads.
func metadataOfAll() audit.PolicyRuleEvaluator {
	return policy.NewPolicyRuleEvaluator(&auditinternal.Policy{Rules: []auditinternal.PolicyRule{
		{Level: auditinternal.LevelNone, Resources: []auditinternal.GroupResources{{Resources: []string{"events"}}}},
		{Level: auditinternal.LevelMetadata},
	}})
}

// TestAudit: an event says what was asked for, who was believed to ask, what was
// decided and where it went.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	events := &trail{}
	w.config.Audit = &Audit{Sink: events, Policy: metadataOfAll()}
	refused := &authn.Decision{Status: 401, ID: "front-1", Verdicts: []authn.Verdict{
		{Authenticator: "token-file", Outcome: authn.Skipped}, {Authenticator: "oidc https://issuer.example", Outcome: authn.Refused, Reason: "the token has expired"}}}
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		switch r.Header.Get("Authorization") {
		case "":
			return &authn.Decision{PassThrough: true, Status: 200}
		case "Bearer bad":
			return refused
		case "Bearer unknown":
			return &authn.Decision{Status: 503, ID: "front-2"}
		}
		return &authn.Decision{User: alice, Status: 200, Authenticator: "token"}
	}
	f := w.front(t)
	at := map[string]string{"cluster": "2kd9", "path": "root:ws", "shard": "shard-1"}
	with := func(more ...string) map[string]string {
		all := map[string]string{}
		for k, v := range at {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	for _, tt := range []struct {
		name, method, path, token string
		want                      recordedEvent
		forwarded                 bool
	}{
		{"admitted", "GET", "/clusters/root:ws/api/v1/namespaces/default/configmaps/a", "good",
			recordedEvent{Verb: "get", Resource: "configmaps", User: "alice", Code: 200, Annotations: with("decision", "admitted", "authenticator", "token")}, true},
		{"a list", "GET", "/clusters/root:ws/apis/apps/v1/deployments", "good",
			recordedEvent{Verb: "list", Resource: "deployments", User: "alice", Code: 200, Annotations: with("decision", "admitted", "authenticator", "token")}, true},
		{"no resource", "POST", "/clusters/root:ws/other", "good",
			recordedEvent{Verb: "post", User: "alice", Code: 200, Annotations: with("decision", "admitted", "authenticator", "token")}, true},
		{"passed through", "GET", "/clusters/root:ws/api/v1/pods", "",
			recordedEvent{Verb: "list", Resource: "pods", Code: 200, Annotations: with("decision", "passed-through")}, true},
		{"refused", "DELETE", "/clusters/root:ws/api/v1/pods", "bad",
			recordedEvent{Verb: "deletecollection", Resource: "pods", Code: 401,
				Annotations: with("decision", "refused", "refusal", "front-1", "reasons", "oidc https://issuer.example: the token has expired")}, false},
		{"undecided", "GET", "/clusters/root:ws/api/v1/pods", "unknown",
			recordedEvent{Verb: "list", Resource: "pods", Code: 503, Annotations: with("decision", "undecided", "refusal", "front-2")}, false},
		{"unknown cluster", "GET", "/clusters/root:no/api/v1/pods", "good",
			recordedEvent{Verb: "list", Resource: "pods", Code: 403, Annotations: map[string]string{"path": "root:no"}}, false},
		{"the proxy's own", "GET", "/metrics", "good",
			recordedEvent{Verb: "get", User: "alice", Code: 403, Annotations: map[string]string{"decision": "admitted", "authenticator": "token"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			if tt.token != "" {
				header.Set("Authorization", "Bearer "+tt.token)
			}
			res, _ := do(t, f.client(t, true), tt.method, f.URL+tt.path, header)
			tt.want.URI = tt.path
			if diff := cmp.Diff(tt.want, events.one(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			id := res.Header["Audit-Id"]
			switch seen := s.take(); {
			case !tt.forwarded && (len(seen) != 0 || len(id) != 1 || len(id[0]) != 36):
				t.Errorf("the shard has seen %d requests, want none; the client's id is %q", len(seen), id)
			case tt.forwarded && (len(seen) != 1 || len(seen[0].Header["Audit-Id"]) != 1 || len(seen[0].Header.Get("Audit-Id")) != 36):
				t.Errorf("the shard has seen %+v, want one request with an id", seen)
			}
		})
	}
	t.Run("not in the policy", func(t *testing.T) {
		do(t, f.client(t, true), "GET", f.URL+"/clusters/root:ws/api/v1/events", http.Header{"Authorization": {"Bearer good"}})
		s.one(t)
		events.mu.Lock()
		defer events.mu.Unlock()
		if len(events.events) != 0 {
			t.Errorf("recorded: %+v", events.events)
		}
	})
}

// TestAuditIDs: a client's id goes on when it can stand in a log, and is
// replaced when it cannot.
func TestAuditIDs(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", false, nil)
	w.config.Audit = &Audit{Sink: &trail{}, Policy: metadataOfAll()}
	f := w.front(t)
	for _, tt := range []struct {
		id   string
		kept bool
	}{{"4f2-mine", true}, {strings.Repeat("a", 64), true}, {strings.Repeat("a", 65), false}, {"two words", false}, {"quo\"te", false}, {"", false}} {
		do(t, f.client(t, false), "GET", f.URL+"/clusters/root:ws/api", http.Header{"Audit-Id": {tt.id}})
		if got := s.one(t).Header.Get("Audit-Id"); (got == tt.id) != tt.kept || got == "" {
			t.Errorf("of the client's id %q the shard sees %q, kept: want %v", tt.id, got, tt.kept)
		}
	}
}

// TestAuditBeforeAnswer: what cannot be recorded is not served, in the mode that
// asks for that.
func TestAuditBeforeAnswer(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	w.config.Audit = &Audit{Sink: &trail{full: true}, Policy: metadataOfAll()}
	f := w.front(t)
	if res, _ := do(t, f.client(t, true), "GET", f.URL+"/clusters/root:ws/api", nil); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("answered %d, want 500", res.StatusCode)
	}
	if seen := s.take(); len(seen) != 0 {
		t.Errorf("it was forwarded: %+v", seen)
	}
}

// TestReasonsBounded: tenants' texts do not make events long.
func TestReasonsBounded(t *testing.T) {
	d := &authn.Decision{Verdicts: []authn.Verdict{{Authenticator: "a", Reason: strings.Repeat("ä", maxReasons)}}}
	if got := reasons(d); len(got) > maxReasons+len("…") || !strings.HasPrefix(got, "a: ä") || strings.ContainsRune(got, '�') {
		t.Errorf("%d bytes", len(got))
	}
}

// TestAuditHoldsNoCredential: what carries credentials in a query elsewhere is not
// recorded, and goes on as it came.
func TestAuditHoldsNoCredential(t *testing.T) {
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	events := &trail{}
	w.config.Audit = &Audit{Sink: events, Policy: metadataOfAll()}
	f := w.front(t)
	const path = "/clusters/root:ws/api/v1/pods"
	for query, want := range map[string]string{
		"access_token=s3cret":                    "access_token=REDACTED",
		"a=b&%61ccess_token=s3cret&watch=0":      "a=b&%61ccess_token=REDACTED&watch=0",
		"Token=s3cret&id_token=s3cret&token":     "Token=REDACTED&id_token=REDACTED&token",
		"fieldSelector=metadata.name%3Dtoken&b=": "fieldSelector=metadata.name%3Dtoken&b=",
		"continue=eyJ2IjoibWV0YS5rOHMuaW8ifQ":    "continue=eyJ2IjoibWV0YS5rOHMuaW8ifQ",
		"":                                       "",
	} {
		target := path
		if query != "" {
			target += "?" + query
			want = "?" + want
		}
		header := http.Header{"Authorization": {"Bearer good"}, "Sec-Websocket-Protocol": {token.BearerProtocolPrefix + "czNjcmV0, v4.channel.k8s.io"}}
		if res, body := do(t, f.client(t, true), "GET", f.URL+target, header); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", query, res.StatusCode, body)
		}
		if got := events.one(t).URI; got != path+want {
			t.Errorf("recorded %s, want %s", got, path+want)
		}
		if got := s.one(t).URI; !strings.HasSuffix(got, strings.TrimPrefix(target, "/clusters/root:ws")) {
			t.Errorf("the shard got %s of %s", got, target)
		}
	}
}

// TestAuditLogsNoQuery: what a client writes into a query is not logged, even if no API server
// can read it: it may be a credential, anybody may send it, and there may be much of it.
func TestAuditLogsNoQuery(t *testing.T) {
	state := klog.CaptureState()
	defer state.Restore()
	var logged bytes.Buffer
	klog.LogToStderr(false)
	klog.SetOutput(&logged)
	for _, query := range []string{
		"limit=x&access_token=s3cret", "timeoutSeconds=s3cret", "fieldSelector=s3cret", "labelSelector=%3D%3Ds3cret%3D",
		"resourceVersionMatch=s3cret&limit=%zz&continue=s3cret&limit=s3cret", "fieldSelector=metadata.name%3Done&limit=s3cret",
	} {
		rec := record{dest: destination.Destination{APIPath: "/api/v1/pods"}}
		r := httptest.NewRequest("GET", "/clusters/a/api/v1/pods?"+query, nil)
		if got := rec.requestInfo(r); got.Verb != "list" || got.Resource != "pods" {
			t.Errorf("%s: %s %s", query, got.Verb, got.Resource)
		}
	}
	klog.Flush()
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
	rec := record{dest: destination.Destination{APIPath: "/api/v1/pods"}}
	r := httptest.NewRequest("GET", "/clusters/a/api/v1/pods?fieldSelector=metadata.name%3Done&watch=1", nil)
	if got := rec.requestInfo(r); got.Verb != "watch" || got.Name != "one" {
		t.Errorf("a selector of one object: %s of %q", got.Verb, got.Name)
	}
}
