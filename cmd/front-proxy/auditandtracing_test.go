package main

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	span "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"

	"frontproxy/e2e/harness"
	"frontproxy/e2e/standin"
)

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// TestAuditFlags: events reach a file and a webhook in Kubernetes' format, the
// last ones when the program ends included, and are counted.
func TestAuditFlags(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	k.Root.PutWorkspace("root", "ws", "audited000000001", "root", "universal", nil)
	k.Root.PutCluster("audited000000001", "root:universal", nil)
	var mu sync.Mutex
	var sent []auditv1.Event
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil || list.APIVersion != "audit.k8s.io/v1" {
			t.Errorf("the webhook got %s (%v)", list.APIVersion, err)
		}
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, list.Items...)
	}))
	t.Cleanup(hook.Close)
	kubeconfig := filepath.Join(t.TempDir(), "hook.kubeconfig")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	if err := harness.WriteKubeconfig(kubeconfig, &rest.Config{Host: hook.URL, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "audit.log")
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--audit-policy-file="+file(t, "policy.yaml", []byte(auditPolicy)), "--audit-log-path="+log,
		"--audit-webhook-config-file="+kubeconfig,
		"--token-auth-file="+file(t, "tokens.csv", []byte("good-token,alice,1\nreader-token,prometheus,2,"+standin.MetricsReader+"\n"))))
	client := p.client()
	p.await(client, "/clusters/root:ws/api/v1/pods", "good-token", http.StatusOK)
	if code, _ := p.ask(client, "/clusters/root:ws/api/v1/secrets", "bad-token"); code != http.StatusUnauthorized {
		t.Errorf("a bad token: %d", code)
	}
	written.secret("query-token")
	p.await(client, "/clusters/root:ws/api/v1/pods?access_token=query-token", "good-token", http.StatusOK)
	if _, page := p.page("reader-token"); !strings.Contains(string(page), "apiserver_audit_event_total ") {
		t.Error("/metrics does not count events")
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"alice /clusters/root:ws/api/v1/pods 200": "admitted", " /clusters/root:ws/api/v1/secrets 401": "refused", "prometheus /metrics 200": "admitted"}
	check := func(where string, events []auditv1.Event) {
		t.Helper()
		got := map[string]string{}
		for _, e := range events {
			if e.Stage == "ResponseComplete" {
				got[fmt.Sprintf("%s %s %d", e.User.Username, e.RequestURI, e.ResponseStatus.Code)] = e.Annotations["front-proxy.kcp.io/decision"]
			}
		}
		for event, decision := range want {
			if got[event] != decision {
				t.Errorf("%s: %q has decision %q, want %q; all: %v", where, event, got[event], decision, got)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	check("webhook", sent)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	written.answer(text) // no credential is in it
	var logged []auditv1.Event
	for lines := bufio.NewScanner(strings.NewReader(string(text))); lines.Scan(); {
		var e auditv1.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		logged = append(logged, e)
	}
	check("file", logged)
}

// spans is an OTLP receiver.
type spans struct {
	collector.UnimplementedTraceServiceServer
	mu      sync.Mutex // guards all and service
	all     []*span.Span
	service string
}

// Export implements collector.TraceServiceServer.
func (s *spans) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range r.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				s.service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			s.all = append(s.all, scope.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// TestTracing: a request has a span, with one for lookup, authn and upstream
// below it, in a trace of its own that the shard is told and that is linked to
// the client's; no token is in it.
func TestTracing(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	k.Root.PutWorkspace("root", "ws", "traced0000000001", "root", "universal", nil)
	k.Root.PutCluster("traced0000000001", "root:universal", nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got, server := &spans{}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, got)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	args, url := arguments(t, k)
	p := startProxy(t, k, url, append(args, "--token-auth-file="+file(t, "tokens.csv", []byte("traced-token,alice,1\n")),
		"--tracing-config-file="+file(t, "tracing.yaml", fmt.Appendf(nil, "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: %s\nsamplingRatePerMillion: 1000000\n", listener.Addr()))))
	client := p.client()
	p.await(client, "/clusters/root:ws/api/v1/ready", "traced-token", http.StatusOK)
	const clients = "0af7651916cd43dd8448eb211c80319c"
	r, err := http.NewRequest(http.MethodGet, p.url+"/clusters/root:ws/api/v1/pods", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer traced-token")
	r.Header.Set("Traceparent", "00-"+clients+"-b7ad6b7169203331-01")
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	var me standin.WhoAmI
	if err := json.NewDecoder(res.Body).Decode(&me); err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if err := p.stop(); err != nil { // sends what is left
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		got.mu.Lock()
		all, service := got.all, got.service
		got.mu.Unlock()
		root, children := traceOf(all, "/clusters/root:ws/api/v1/pods")
		if root != nil && children["lookup"] != nil && children["authn"] != nil && children["upstream"] != nil {
			checkTrace(t, root, children["upstream"], me.Header.Get("Traceparent"), clients)
			if service != "front-proxy" {
				t.Errorf("the service is %q", service)
			}
			written.answer(fmt.Append(nil, all))
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("spans missing: %v", all)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func checkTrace(t *testing.T, root, upstream *span.Span, told, clients string) {
	t.Helper()
	if trace := fmt.Sprintf("%x", root.TraceId); trace == clients {
		t.Error("the client chose the trace")
	}
	if len(root.Links) != 1 || fmt.Sprintf("%x", root.Links[0].TraceId) != clients {
		t.Errorf("links: %v", root.Links)
	}
	if want := fmt.Sprintf("00-%x-%x-01", upstream.TraceId, upstream.SpanId); told != want {
		t.Errorf("the shard is told %q, want %q", told, want)
	}
	attributes := map[string]string{}
	for _, a := range root.Attributes {
		attributes[a.Key] = a.Value.GetStringValue()
	}
	for key, want := range map[string]string{"front-proxy.cluster": "traced0000000001", "front-proxy.shard": "root", "front-proxy.decision": "admitted", "http.request.method": "GET"} {
		if attributes[key] != want {
			t.Errorf("%s is %q, want %q", key, attributes[key], want)
		}
	}
}

// traceOf finds the span of a request by its path, and those below it by name.
func traceOf(all []*span.Span, path string) (root *span.Span, children map[string]*span.Span) {
	children = map[string]*span.Span{}
	for _, s := range all {
		for _, a := range s.Attributes {
			if a.Key == "url.path" && a.Value.GetStringValue() == path {
				root = s
			}
		}
	}
	for _, s := range all {
		if root != nil && string(s.ParentSpanId) == string(root.SpanId) {
			children[s.Name] = s
		}
	}
	return root, children
}

// TestObserveFlags: what would record nothing does not start.
func TestObserveFlags(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	policy := file(t, "policy.yaml", []byte(auditPolicy))
	for _, tt := range []struct {
		name, want string
		flags      []string
	}{
		{"no policy", "--audit-policy-file is not", []string{"--audit-log-path=-"}},
		{"no place", "events would go nowhere", []string{"--audit-policy-file=" + policy}},
		{"a broken policy", "--audit-policy-file", []string{"--audit-log-path=-", "--audit-policy-file=" + file(t, "bad.yaml", []byte("kind: Policy\n"))}},
		{"a broken tracing file", "--tracing-config-file", []string{"--tracing-config-file=" + file(t, "tracing.yaml", []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsamplingRatePerMillion: -1\n"))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args, _ := arguments(t, k)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := run(ctx, append(args, tt.flags...), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
