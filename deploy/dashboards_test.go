package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"frontproxy/authn/issuer/issuertest"
)

// TestDashboardShowsPoints: every query of every dashboard finds something in what a
// running front-proxy tells of itself, as Prometheus' engine evaluates it.
func TestDashboardShowsPoints(t *testing.T) {
	s := newStage(t)
	var code atomic.Int64
	code.Store(http.StatusOK)
	s.withOIDC()
	s.withWorkspaceIssuer()
	s.withWebhook(&code)
	s.args = append(s.args, "--service-account-keys-from-shards")
	codes := []int{http.StatusOK, http.StatusInternalServerError, http.StatusTooManyRequests}
	var asked atomic.Int64
	broken := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := asked.Add(1) % 4; n {
		case 3:
			panic(http.ErrAbortHandler) // the connection breaks
		default:
			w.WriteHeader(codes[n])
		}
	})
	s.broken.Store(&broken)
	s.start()
	expired := time.Now().Add(-time.Hour).Unix()
	traffic := func() {
		s.ask()
		s.ask(s.issuer.Sign(issuertest.Claims{"sub": "u", "aud": "another"}),
			s.issuer.Sign(issuertest.Claims{"iss": "https://kcp.default.svc", "sub": "system:serviceaccount:default:bot", "aud": "https://kcp.default.svc", "exp": expired}))
		resp, err := s.client.Post(s.url+"/clusters/root:team/api/v1/namespaces/default/configmaps", "application/json", strings.NewReader("{}"))
		check(t, err)
		check(t, resp.Body.Close())
	}
	traffic()
	s.await(`front_proxy_shard_service_account_keys_failed{shard="root"}`)
	s.far.Stop()
	s.await(`front_proxy_resource_watch_state{resource="workspaces.tenancy.kcp.io",shard="far",state="failed"}`)
	s.ask() // none gets through
	check(t, s.far.Start())
	begin := s.scrape()
	traffic()
	lines := record([]phase{{minutes: 5, begin: begin, end: begin}, {minutes: 25, begin: begin, end: s.scrape()}}, "a", "b")

	files, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	var rules []any
	queries := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		check(t, err)
		var dashboard struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		check(t, json.Unmarshal(content, &dashboard))
		for _, p := range dashboard.Panels {
			for n, target := range p.Targets {
				name := fmt.Sprintf("%s: %s, query %d", filepath.Base(file), p.Title, n)
				expr := strings.NewReplacer("$__rate_interval", "5m", "$namespace", "kcp", "$job", "front-proxy|other").Replace(target.Expr)
				if strings.Contains(expr, "$") || queries[name] != "" {
					t.Errorf("%s has a variable that is not known here, or its name twice: %s", name, expr)
				}
				queries[name] = expr
				rules = append(rules, map[string]any{"alert": name, "expr": expr}) // fires where there is a point
			}
		}
	}
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboards", "rules": rules}}})
	check(t, err)
	file := filepath.Join(t.TempDir(), "queries.yaml")
	check(t, os.WriteFile(file, text, 0o600))
	points := map[string]int{}
	for _, a := range evaluated(t, file, lines, 29)[0] {
		points[a.Labels["alertname"]]++
	}
	for name, expr := range queries {
		if points[name] == 0 {
			t.Errorf("%s shows nothing: %s", name, expr)
		}
	}
	if len(queries) < 30 {
		t.Errorf("%d queries", len(queries))
	}
}
