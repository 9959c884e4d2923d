package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"frontproxy/authn"
	"frontproxy/authn/issuer"
	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/token"
	"frontproxy/authn/webhook"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/certs"
	"frontproxy/internal/certstest"
	"frontproxy/proxy/metrics"
	"frontproxy/proxy/routing"
	"frontproxy/proxy/routing/routingtest"
)

// metricLines are the metrics as the page shows them, one line an entry, of the
// families whose names begin with one of prefixes.
func metricLines(t testing.TB, m *metrics.Metrics, prefixes ...string) []string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("the page is %d %s", rec.Code, rec.Body)
	}
	var lines []string
	for line := range strings.Lines(rec.Body.String()) {
		line = strings.TrimSpace(line)
		for _, p := range prefixes {
			if !strings.HasPrefix(line, "#") && strings.HasPrefix(line, p) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// shows waits until the lines of a family are these: some are counted when the
// client has its answer already.
func shows(t testing.TB, m *metrics.Metrics, prefix string, want ...string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		diff := cmp.Diff(want, metricLines(t, m, prefix))
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s (-want +got):\n%s", prefix, diff)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// value is that of a series; 0 when there is none yet.
func value(t testing.TB, m *metrics.Metrics, series string) float64 {
	t.Helper()
	lines := metricLines(t, m, series+" ")
	if len(lines) == 0 {
		return 0
	}
	n, err := strconv.ParseFloat(strings.TrimPrefix(lines[0], series+" "), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMetricsCountRequests(t *testing.T) {
	w := newWorld(t)
	watching, finish := make(chan struct{}), make(chan struct{})
	w.shard(t, "shard-1", true, func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Has("watch"):
			_, _ = io.WriteString(rw, "event\n")
			_ = http.NewResponseController(rw).Flush()
			close(watching)
			<-finish
		case r.Method == "POST":
			_, _ = io.Copy(io.Discard, r.Body)
			rw.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(rw, "0123456789")
		case strings.Contains(r.URL.Path, "odd"):
			rw.WriteHeader(799)
		default:
			_, _ = io.WriteString(rw, "0123456789")
		}
	})
	closed := httptest.NewServer(nil)
	w.index["down"] = index.Target{Cluster: "down", Shard: shardAt("down", parse(t, strings.Replace(closed.URL, "http", "https", 1)))}
	closed.Close()
	w.index["gone"] = index.ErrUnknown
	w.index["moving"] = index.ErrConflict
	w.decide = func(_ context.Context, r authn.Request) *authn.Decision {
		switch r.Header.Get("Authorization") {
		case "":
			return &authn.Decision{Status: 401}
		case "undecided":
			return &authn.Decision{Status: 503, Undecided: authn.Workspace}
		case "pass":
			return &authn.Decision{Status: 200, PassThrough: true}
		case "panic":
			panic("boo")
		}
		return &authn.Decision{User: alice, Status: 200, Authenticator: "token"}
	}
	m := metrics.New("v1")
	w.config.Metrics = m
	f := w.front(t)
	c := f.client(t, true)
	as := func(who string) http.Header { return http.Header{"Authorization": {who}} }
	pods := f.URL + "/clusters/root:ws/api/v1/namespaces/default/pods"
	do(t, c, "GET", pods, as("token"))
	do(t, c, "GET", pods+"/one", as("pass"))
	do(t, c, "GET", pods+"/odd", as("token"))
	do(t, c, "GET", pods, as("undecided"))
	do(t, c, "GET", pods, as("panic"))
	do(t, c, "BREW", pods, nil)
	do(t, c, "GET", f.URL+"/clusters/gone/api", as("token"))
	do(t, c, "GET", f.URL+"/clusters/moving/api", as("token"))
	do(t, c, "GET", f.URL+"/clusters/*/api", as("token"))
	do(t, c, "GET", f.URL+"/nowhere", as("token"))
	for _, body := range []io.Reader{strings.NewReader("hello"), io.MultiReader(strings.NewReader("hel"), strings.NewReader("lo"))} {
		r, err := http.NewRequest("POST", pods, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = as("token")
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(res.Body); string(data) != "0123456789" || err != nil {
			t.Errorf("answer %q, %v", data, err)
		}
		_ = res.Body.Close()
	}
	shows(t, m, "front_proxy_requests_total",
		`front_proxy_requests_total{authenticator="",code="401",shard="shard-1",verb="other"} 1`,
		`front_proxy_requests_total{authenticator="",code="403",shard="",verb="get"} 2`,
		`front_proxy_requests_total{authenticator="",code="404",shard="",verb="get"} 1`,
		`front_proxy_requests_total{authenticator="",code="500",shard="shard-1",verb="list"} 1`,
		`front_proxy_requests_total{authenticator="",code="503",shard="",verb="get"} 1`,
		`front_proxy_requests_total{authenticator="",code="503",shard="shard-1",verb="list"} 1`,
		`front_proxy_requests_total{authenticator="pass-through",code="200",shard="shard-1",verb="get"} 1`,
		`front_proxy_requests_total{authenticator="token",code="200",shard="shard-1",verb="list"} 1`,
		`front_proxy_requests_total{authenticator="token",code="201",shard="shard-1",verb="create"} 2`,
		`front_proxy_requests_total{authenticator="token",code="other",shard="shard-1",verb="get"} 1`,
	)
	shows(t, m, "proxy_request_duration_seconds_count",
		`proxy_request_duration_seconds_count{code="200",method="get"} 2`,
		`proxy_request_duration_seconds_count{code="201",method="post"} 2`,
		`proxy_request_duration_seconds_count{code="401",method="unknown"} 1`,
		`proxy_request_duration_seconds_count{code="403",method="get"} 2`,
		`proxy_request_duration_seconds_count{code="404",method="get"} 1`,
		`proxy_request_duration_seconds_count{code="500",method="get"} 1`,
		`proxy_request_duration_seconds_count{code="503",method="get"} 2`,
		`proxy_request_duration_seconds_count{code="other",method="get"} 1`,
	)
	shows(t, m, "kcp_backend", `kcp_backend_rq_body_bytes{shard="shard-1"} 10`, `kcp_backend_rs_body_bytes{shard="shard-1"} 40`)
	shows(t, m, "front_proxy_lookups_total",
		`front_proxy_lookups_total{result="conflict"} 1`, `front_proxy_lookups_total{result="failed"} 0`,
		`front_proxy_lookups_total{result="found"} 8`, `front_proxy_lookups_total{result="invalid"} 1`,
		`front_proxy_lookups_total{result="mount"} 0`, `front_proxy_lookups_total{result="not_synced"} 0`,
		`front_proxy_lookups_total{result="unavailable"} 0`, `front_proxy_lookups_total{result="unknown"} 1`)
	shows(t, m, "front_proxy_decisions_total",
		`front_proxy_decisions_total{outcome="accepted",scope=""} 4`, `front_proxy_decisions_total{outcome="pass-through",scope=""} 1`,
		`front_proxy_decisions_total{outcome="refused",scope=""} 1`,
		`front_proxy_decisions_total{outcome="undecided",scope="global"} 0`, `front_proxy_decisions_total{outcome="undecided",scope="workspace"} 1`)
	shows(t, m, "front_proxy_panics_total", `front_proxy_panics_total 1`)
	shows(t, m, "front_proxy_build_info", fmt.Sprintf(`front_proxy_build_info{go_version=%q,version="v1"} 1`, goVersion(t)))

	// A watch is seen, and its bytes, before it ends.
	r, _ := http.NewRequest("GET", pods+"?watch=1", nil)
	r.Header = as("token")
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	<-watching
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); line != "event\n" {
		t.Fatalf("watch: %q, %v", line, err)
	}
	shows(t, m, "front_proxy_requests_in_flight", `front_proxy_requests_in_flight 1`)
	shows(t, m, "front_proxy_open_streams", `front_proxy_open_streams{kind="answer"} 0`, `front_proxy_open_streams{kind="upgrade"} 0`, `front_proxy_open_streams{kind="watch"} 1`)
	shows(t, m, "kcp_backend_rs", `kcp_backend_rs_body_bytes{shard="shard-1"} 46`)
	close(finish)
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	shows(t, m, `front_proxy_requests_total{authenticator="token",code="200",shard="shard-1",verb="watch"}`,
		`front_proxy_requests_total{authenticator="token",code="200",shard="shard-1",verb="watch"} 1`)
	shows(t, m, "front_proxy_requests_in_flight", `front_proxy_requests_in_flight 0`)
	shows(t, m, "front_proxy_open_streams", `front_proxy_open_streams{kind="answer"} 0`, `front_proxy_open_streams{kind="upgrade"} 0`, `front_proxy_open_streams{kind="watch"} 0`)

	do(t, c, "GET", f.URL+"/clusters/down/api/v1/pods", as("token"))
	shows(t, m, "front_proxy_upstream_errors_total", `front_proxy_upstream_errors_total{reason="connect",shard="down",upstream="shard"} 1`)

	m.Watches().Forget("shard-1")
	m.Watches().Forget("down")
	for _, line := range metricLines(t, m, "front_proxy_", "kcp_", "proxy_") {
		if strings.Contains(line, `shard="shard-1"`) || strings.Contains(line, `shard="down"`) {
			t.Errorf("of a shard that is gone there is still %s", line)
		}
	}
	do(t, c, "GET", pods, as("token")) // the next life of the name counts anew
	shows(t, m, `front_proxy_requests_total{authenticator="token"`, `front_proxy_requests_total{authenticator="token",code="200",shard="shard-1",verb="list"} 1`)
	shows(t, m, "kcp_backend", `kcp_backend_rq_body_bytes{shard="shard-1"} 0`, `kcp_backend_rs_body_bytes{shard="shard-1"} 10`)
}

func goVersion(t *testing.T) string {
	t.Helper()
	for _, line := range metricLines(t, metrics.New(""), "go_info") {
		_, rest, _ := strings.Cut(line, `version="`)
		version, _, _ := strings.Cut(rest, `"`)
		return version
	}
	t.Fatal("no go_info")
	return ""
}

func TestMetricsOfBrokenAnswers(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", false, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(rw, "half")
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	})
	m := metrics.New("")
	w.config.Metrics = m
	f := w.front(t)
	if res, err := f.client(t, false).Get(f.URL + "/clusters/root:ws/api"); err == nil { // else it broke off early
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("a broken answer looks whole")
		}
		_ = res.Body.Close()
	}
	shows(t, m, "front_proxy_upstream_errors_total", `front_proxy_upstream_errors_total{reason="response_interrupted",shard="shard-1",upstream="shard"} 1`)
	shows(t, m, "kcp_backend_rs", `kcp_backend_rs_body_bytes{shard="shard-1"} 4`)
}

// TestMetricsOfDisconnectedClients: nothing was answered, and nobody is to blame.
func TestMetricsOfDisconnectedClients(t *testing.T) {
	w := newWorld(t)
	entered, left := make(chan struct{}), make(chan struct{})
	w.shard(t, "shard-1", false, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	})
	m := metrics.New("")
	w.config.Metrics = m
	f := w.front(t)
	conn := f.dial(t)
	_, _ = io.WriteString(conn, "GET /clusters/root:ws/api HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	_ = conn.Close()
	<-left
	shows(t, m, "front_proxy_requests_total", `front_proxy_requests_total{authenticator="token",code="0",shard="shard-1",verb="get"} 1`)
	shows(t, m, "proxy_request_duration_seconds_count")
	shows(t, m, "front_proxy_upstream_errors_total")
}

func TestMetricsOfTLSErrors(t *testing.T) {
	w := newWorld(t)
	w.shard(t, "shard-1", true, nil)
	w.write(t, "ca.crt", certstest.New(t, "other").PEM)
	m := metrics.New("")
	w.config.Metrics = m
	f := w.front(t)
	if res, _ := do(t, f.client(t, false), "GET", f.URL+"/clusters/root:ws/api", nil); res.StatusCode != 503 {
		t.Errorf("answer %d", res.StatusCode)
	}
	shows(t, m, "kcp_listener_tls_connection_error", `kcp_listener_tls_connection_error{error_type="unknown_ca",shard="shard-1"} 1`)
	shows(t, m, "front_proxy_upstream_errors_total", `front_proxy_upstream_errors_total{reason="tls",shard="shard-1",upstream="shard"} 1`)
}

// TestMetricsAreBounded: whatever clients, tenants and shards choose, it adds
// no series and is in no label.
func TestMetricsAreBounded(t *testing.T) {
	w := newWorld(t)
	var code int
	s := w.shard(t, "shard-1", false, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) })
	m := metrics.New("")
	p, err := New(Config{Routing: routing.Config{Mappings: w.mappings(t, routingtest.ShardsMapping), Index: w.index}, Decider: deciderFunc(w.decide), Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	round := func(name string) int {
		for n := range 60 {
			cluster := fmt.Sprintf("%sws%d", name, n)
			w.index[cluster] = index.Target{Cluster: cluster, Shard: s.Shard}
			code = []int{200, 404, 599 + n, 700 + n}[n%4]
			r := httptest.NewRequest("GET", "/clusters/"+cluster+"/apis/"+name+".example/v1/"+name+"s/"+name+"?"+name+"=1", nil)
			r.Header = http.Header{"Authorization": {"Bearer " + name}, "User-Agent": {name}, "X-" + name: {name}}
			if n%3 == 0 {
				r.Method = fmt.Sprintf("%s%d", strings.ToUpper(name), n)
			}
			p.ServeHTTP(httptest.NewRecorder(), r)
			p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/"+cluster, nil))
		}
		return len(metricLines(t, m, "front_proxy_", "kcp_", "proxy_"))
	}
	first := round("evila")
	if second := round("evilb"); second != first || first < 20 {
		t.Errorf("%d series after other names, %d before", second, first)
	}
	for _, line := range metricLines(t, m, "front_proxy_", "kcp_", "proxy_") {
		if l := strings.ToLower(line); strings.Contains(l, "evil") || strings.Contains(l, "alice") || strings.Contains(l, "127.0.0.1") {
			t.Errorf("a label names what it must not: %s", line)
		}
	}
}

func TestMetricsOfSources(t *testing.T) {
	w := newWorld(t)
	m := metrics.New("")
	clk := testingclock.NewFakeClock(time.Now())
	w.config.Metrics, w.config.Routing.Clock = m, clk
	w.config.ShardStatus = func() shards.Status {
		return shards.Status{Shards: []shards.ShardStatus{{Name: "a", Synced: true}, {Name: "b"}}}
	}
	f := w.front(t)
	var broken error
	bundle := append(append([]byte("junk\n"), certstest.New(t, "x").PEM...), w.serving.PEM...)
	m.RegisterSources(metrics.Sources{
		Counts: func() []index.Count { return []index.Count{{Shard: "a", LogicalClusters: 3, Workspaces: 2}} },
		Configurations: func() map[workspacetypes.ShownState]int {
			return map[workspacetypes.ShownState]int{workspacetypes.ShownReady: 4}
		},
		Issuers: map[string]func() map[issuer.State]int{
			"workspace": func() map[issuer.State]int { return map[issuer.State]int{issuer.Failing: 2} },
		},
		ShardKeys: func() []serviceaccount.ShardKeysStatus {
			return []serviceaccount.ShardKeysStatus{{Shard: "a", IDs: []string{"k", "l"}, Read: metav1.Unix(1700000000, 0)}, {Shard: "b", Error: "at 10.0.0.1: down"}}
		},
		Webhook: func() webhook.Status {
			return webhook.Status{State: webhook.AllUnauthorized, Counts: map[webhook.Result]uint64{webhook.Unauthorized: 7}}
		},
		Reloads: map[string]func() error{"token-auth-file": func() error { return broken }},
		Certificates: []certs.Source{
			{Role: "client-ca", Source: "client-ca-file", PEM: func() []byte { return bundle }},
			{Role: "client", Source: "root-kubeconfig", PEM: func() []byte { return nil }},
		},
	})
	m.ServiceAccountRefused(token.ReasonExpired)
	shows(t, m, "kcp_indexed_logicalclusters", `kcp_indexed_logicalclusters{shard="a"} 3`)
	shows(t, m, "front_proxy_indexed_workspaces", `front_proxy_indexed_workspaces{shard="a"} 2`)
	shows(t, m, "front_proxy_shard_synced", `front_proxy_shard_synced{shard="a"} 1`, `front_proxy_shard_synced{shard="b"} 0`)
	shows(t, m, "front_proxy_authentication_configurations",
		`front_proxy_authentication_configurations{state="Broken"} 0`, `front_proxy_authentication_configurations{state="Missing"} 0`,
		`front_proxy_authentication_configurations{state="Pending"} 0`, `front_proxy_authentication_configurations{state="Ready"} 4`,
		`front_proxy_authentication_configurations{state="Unused"} 0`)
	shows(t, m, "front_proxy_issuers",
		`front_proxy_issuers{scope="workspace",state="Failing"} 2`, `front_proxy_issuers{scope="workspace",state="NoUsableKey"} 0`, `front_proxy_issuers{scope="workspace",state="Pending"} 0`,
		`front_proxy_issuers{scope="workspace",state="Ready"} 0`, `front_proxy_issuers{scope="workspace",state="Unavailable"} 0`)
	shows(t, m, "front_proxy_webhook",
		`front_proxy_webhook_reviews_total{result="accepted"} 0`, `front_proxy_webhook_reviews_total{result="failed"} 0`,
		`front_proxy_webhook_reviews_total{result="refused"} 0`, `front_proxy_webhook_reviews_total{result="unauthorized"} 7`,
		`front_proxy_webhook_state{state="Failing"} 0`, `front_proxy_webhook_state{state="Pending"} 0`,
		`front_proxy_webhook_state{state="Ready"} 0`, `front_proxy_webhook_state{state="Unauthorized"} 1`)
	shows(t, m, "front_proxy_service_account", `front_proxy_service_account_refusals_total{reason="expired"} 1`)
	shows(t, m, "front_proxy_config_last_reload_successful", `front_proxy_config_last_reload_successful{source="mapping-file /clusters/"} 1`,
		`front_proxy_config_last_reload_successful{source="token-auth-file"} 1`)
	shows(t, m, "front_proxy_shard_service_account_keys",
		`front_proxy_shard_service_account_keys{shard="a"} 2`, `front_proxy_shard_service_account_keys{shard="b"} 0`,
		`front_proxy_shard_service_account_keys_failed{shard="a"} 0`, `front_proxy_shard_service_account_keys_failed{shard="b"} 1`,
		`front_proxy_shard_service_account_keys_read_timestamp_seconds{shard="a"} 1.7e+09`, `front_proxy_shard_service_account_keys_read_timestamp_seconds{shard="b"} 0`)
	broken = errors.New("broken")
	for _, u := range f.router.Upstreams() {
		w.write(t, "ca.crt", nil)
		routingtest.Settle(t, u.Followed, clk)
	}
	shows(t, m, "front_proxy_config_last_reload_successful", `front_proxy_config_last_reload_successful{source="mapping-file /clusters/"} 0`,
		`front_proxy_config_last_reload_successful{source="token-auth-file"} 0`)
	if failed := f.config.Pages.Status.Statusz(f.config.Now()).Status.FailedReloads; !strings.Contains(failed["mapping-file /clusters/"], "is empty") {
		t.Errorf("/statusz tells of %q, not of the emptied CA", failed)
	}

	want := map[string]int64{}
	for role, bundle := range map[string][]byte{`role="client-ca",source="client-ca-file"`: bundle, `role="backend-ca",source="mapping-file /clusters/"`: w.serving.PEM} {
		want[role] = certs.Earliest(bundle).NotAfter.Unix()
	}
	ends := strings.Join(metricLines(t, m, "front_proxy_certificate_expiration_timestamp_seconds"), "\n")
	for role, end := range want {
		line := fmt.Sprintf("front_proxy_certificate_expiration_timestamp_seconds{%s} %s", role, scientific(end))
		if !strings.Contains(ends, line) {
			t.Errorf("no %s in\n%s", line, ends)
		}
	}
	for _, role := range []string{`role="serving",source="tls-cert-file"`, `role="client",source="mapping-file /clusters/"`} {
		if !strings.Contains(ends, role) {
			t.Errorf("no %s in\n%s", role, ends)
		}
	}
	if strings.Contains(ends, "root-kubeconfig") {
		t.Errorf("an end of what does not exist:\n%s", ends)
	}
}

// scientific writes a number as the page does.
func scientific(n int64) string { return strconv.FormatFloat(float64(n), 'g', -1, 64) }

// TestMetricsLint: our names follow Prometheus' rules. kcp's do not all.
func TestMetricsLint(t *testing.T) {
	m := metrics.New("v1")
	w := newWorld(t)
	w.config.Metrics = m
	w.shard(t, "shard-1", false, nil)
	f := w.front(t)
	do(t, f.client(t, false), "GET", f.URL+"/clusters/root:ws/api", nil)
	problems, err := testutil.GatherAndLint(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "front_proxy_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
