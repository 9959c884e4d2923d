package proxy

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn"
	"frontproxy/index"
	"frontproxy/proxy/accessreview"
	"frontproxy/proxy/accessreview/accessreviewtest"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/routing/routingtest"
)

// TestMetricsPage: who may read /metrics, with a mapping for everything.
func TestMetricsPage(t *testing.T) {
	root := accessreviewtest.NewRoot(t, "", "alice", "carol")
	w := newWorld(t)
	s := w.shard(t, "shard-1", true, nil)
	w.mapping = "- path: /\n  backend: " + s.URL + routingtest.TLSEntry
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		if r.URL.Path == "/metrics" && r.Target != (index.Target{}) {
			t.Errorf("Decide is asked about %+v", r.Target)
		}
		switch who, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); who {
		case "":
			return &authn.Decision{Status: 401, ID: "front-1"}
		case "undecided":
			return &authn.Decision{Status: 503, ID: "front-2"}
		case "pass":
			return &authn.Decision{Status: 200, PassThrough: true}
		case "alice":
			return &authn.Decision{User: alice, Status: 200, Authenticator: "token"}
		default:
			return &authn.Decision{User: &user.DefaultInfo{Name: who}, Status: 200, Authenticator: "token"}
		}
	}
	m := metrics.New("v1")
	authorizer, err := accessreview.NewRootAuthorizer(accessreview.RootConfig{Kubeconfig: root.Config(""), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	w.config.Metrics, w.config.Pages.Authorizer = m, authorizer
	f := w.front(t)
	type answer struct {
		Code    int
		Message string // of a Status
	}
	get := func(t *testing.T, method, who string, http2 bool) (answer, []byte) {
		t.Helper()
		header := http.Header{}
		if who != "" {
			header.Set("Authorization", "Bearer "+who)
		}
		res, body := do(t, f.client(t, http2), method, f.URL+"/metrics", header)
		if res.StatusCode == 200 || method == "HEAD" {
			return answer{Code: res.StatusCode}, body
		}
		if retry := res.Header.Get("Retry-After"); (res.StatusCode == 503) != (retry != "") {
			t.Errorf("%d with Retry-After %q", res.StatusCode, retry)
		}
		return answer{res.StatusCode, status(t, body).Message}, body
	}
	forbidden := func(who string) answer {
		return answer{403, `forbidden: User "` + who + `" cannot get path "/metrics"`}
	}
	for _, tt := range []struct {
		name, method, who string
		want              answer
		reviews           int
	}{
		{"no credential", "GET", "", answer{401, "Unauthorized: the request has no credentials that are used here; log in first; an administrator can find out why by this id: front-1"}, 0},
		{"nobody could decide", "GET", "undecided", answer{503, "authentication is not possible right now; try again later; an administrator can find out why by this id: front-2"}, 0},
		{"no authenticator applies", "GET", "pass", answer{401, "Unauthorized: the request has no credentials that are used here; log in first"}, 0},
		{"not allowed", "GET", "bob", forbidden("bob"), 1},
		{"a no is kept", "GET", "bob", forbidden("bob"), 0},
		{"allowed", "GET", "alice", answer{Code: 200}, 1},
		{"a yes is kept", "GET", "alice", answer{Code: 200}, 0},
		{"HEAD is a get", "HEAD", "alice", answer{Code: 200}, 0},
		{"another user's yes does not count", "GET", "dave", forbidden("dave"), 1},
		{"another method", "POST", "alice", answer{405, "only GET is served here"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, http2 := range []bool{false, true} {
				got, body := get(t, tt.method, tt.who, http2)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("HTTP/2 %v (-want +got):\n%s", http2, diff)
				}
				if got.Code == 200 && tt.method == "GET" {
					parses(t, body)
				}
			}
			if asked := root.Take(); len(asked) != tt.reviews {
				t.Errorf("root is asked %d times, want %d: %+v", len(asked), tt.reviews, asked)
			}
		})
	}

	t.Run("root fails", func(t *testing.T) {
		root.Fail(500)
		want := answer{503, "authorization is not possible right now; try again later"}
		if got, _ := get(t, "GET", "carol", false); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		root.Close()
		if got, _ := get(t, "GET", "carol", false); got != want {
			t.Errorf("root is down: %+v, want %+v", got, want)
		}
		if got, _ := get(t, "GET", "alice", false); got.Code != 200 {
			t.Errorf("a yes is not kept while root is down: %+v", got)
		}
	})
	if seen := s.take(); len(seen) != 0 {
		t.Errorf("/metrics was forwarded: %+v", seen)
	}
	if got := metricLines(t, m, "front_proxy_access_reviews_total"); len(got) != 2 || got[0] != `front_proxy_access_reviews_total{result="answered"} 3` || strings.HasSuffix(got[1], " 0") {
		t.Errorf("reviews counted: %q", got)
	}
	for _, line := range []string{
		`front_proxy_requests_total{authenticator="token",code="403",shard="",verb="get"} 6`,
		`front_proxy_requests_total{authenticator="token",code="405",shard="",verb="post"} 2`,
	} {
		if !strings.Contains(strings.Join(metricLines(t, m, "front_proxy_requests_total"), "\n"), strings.Replace(line, `authenticator="token",code="405"`, `authenticator="",code="405"`, 1)) {
			t.Errorf("not counted: %s in %q", line, metricLines(t, m, "front_proxy_requests_total"))
		}
	}
}

// parses reads the page as Prometheus does.
func parses(t *testing.T, page []byte) {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		t.Fatalf("the page does not parse: %v", err)
	}
	for _, name := range []string{"front_proxy_build_info", "front_proxy_requests_in_flight", "proxy_request_duration_seconds", "go_goroutines", "process_start_time_seconds"} {
		if families[name] == nil && name != "proxy_request_duration_seconds" {
			t.Errorf("the page has no %s", name)
		}
	}
}

// TestMetricsPageWithoutAuthorizer: without an authorizer nobody may read it.
func TestMetricsPageWithoutAuthorizer(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, nil)
	f := w.front(t)
	res, body := do(t, f.client(t, true), "GET", f.URL+"/metrics", nil)
	if res.StatusCode != 403 || status(t, body).Reason != metav1.StatusReasonForbidden {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	for _, path := range []string{"/metrics/", "/metrics/x", "/metricsx", "/clusters/root:ws/metrics"} {
		if res, body := do(t, f.client(t, true), "GET", f.URL+path, nil); res.StatusCode == 403 {
			t.Errorf("%s is taken for /metrics: %s", path, body)
		}
	}
}
