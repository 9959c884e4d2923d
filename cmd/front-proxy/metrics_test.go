package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"frontproxy/authn/issuer/issuertest"
	"frontproxy/e2e/standin"
)

// page reads /metrics with a token, if there is one.
func (p *runningProxy) page(token string) (int, []byte) {
	p.t.Helper()
	return p.get("/metrics", token)
}

// get asks for a page of the proxy's own, without a token if it is empty.
func (p *runningProxy) get(path, token string) (int, []byte) {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.client().Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, body
}

// TestMetrics: every part of the program is on the page, and no tenant is.
func TestMetrics(t *testing.T) {
	t.Parallel()
	k := newKCP(t)
	addShard(t, k, "shard-1")
	issuer := newIssuer(t)
	k.Root.PutConfiguration("root", "tenantconfig", trusting(issuer))
	k.Root.PutType("root", "tenanttype", "tenantconfig")
	k.Root.PutWorkspace("root", "tenantspace", "tenantcluster001", "root", "tenanttype", nil)
	k.Root.PutCluster("tenantcluster001", "root:tenanttype", nil)
	args, url := arguments(t, k, k.MappingEntry("/"), k.MappingEntry("/clusters/"))
	p := startProxy(t, k, url, append(args, "--feature-gates=WorkspaceAuthentication=true", "--requestheader-client-ca-file="+k.RequestHeaderCA.File, "--requestheader-username-headers=X-Remote-User",
		"--token-auth-file="+file(t, "tokens.csv", []byte("reader-token,prometheus,1,"+standin.MetricsReader+"\nother-token,mallory,2,devs\n"))))
	token := issuer.Sign(issuertest.Claims{"sub": "tenantuser", "aud": []string{"ws"}})
	p.await(p.client(), "/clusters/root:tenantspace/api/v1/pods", token, http.StatusOK)
	p.await(p.client(), "/clusters/root:tenantspace/api/v1/pods", "no such token", http.StatusUnauthorized)

	for _, tt := range []struct {
		name, token string
		want        int
	}{{"nobody", "", 401}, {"a user of a workspace", token, 401}, {"a user without the right", "other-token", 403}, {"a reader", "reader-token", 200}} {
		if code, body := p.page(tt.token); code != tt.want {
			t.Errorf("%s gets %d, want %d: %s", tt.name, code, tt.want, body)
		}
	}
	_, page := p.page("reader-token")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(bytes.NewReader(page)); err != nil {
		t.Fatalf("the page does not parse: %v", err)
	}
	for _, line := range []string{
		`kcp_indexed_logicalclusters{shard="root"} 2`,
		`front_proxy_indexed_workspaces{shard="root"} 1`,
		`front_proxy_shard_synced{shard="shard-1"} 1`,
		`front_proxy_resource_watch_state{resource="shards.core.kcp.io",shard="",state="synced"} 1`,
		`front_proxy_resource_watch_state{resource="workspaceauthenticationconfigurations.tenancy.kcp.io",shard="shard-1",state="synced"} 1`,
		`front_proxy_authentication_configurations{state="Ready"} 1`,
		`front_proxy_issuers{scope="workspace",state="Ready"} 1`,
		`front_proxy_config_last_reload_successful{source="token-auth-file"} 1`,
		`front_proxy_decisions_total{outcome="accepted",scope=""}`,
		`front_proxy_access_reviews_total{result="answered"} 2`,
		`front_proxy_requests_total{authenticator="workspace-token",code="200",shard="root",verb="list"} 1`,
		`proxy_request_duration_seconds_bucket{code="200",method="get",le="0.05"}`,
		`front_proxy_certificate_expiration_timestamp_seconds{role="serving",source="tls-cert-file"}`,
		`front_proxy_certificate_expiration_timestamp_seconds{role="client",source="root-kubeconfig"}`,
		`front_proxy_certificate_expiration_timestamp_seconds{role="client",source="shards-kubeconfig"}`,
		`front_proxy_certificate_expiration_timestamp_seconds{role="client",source="mapping-file /`,
		`front_proxy_certificate_expiration_timestamp_seconds{role="backend-ca",source="mapping-file /`,
		`front_proxy_certificate_expiration_timestamp_seconds{role="client-ca",source="client-ca-file"}`,
		`front_proxy_certificate_expiration_timestamp_seconds{role="requestheader-ca",source="requestheader-client-ca-file"}`,
		`front_proxy_build_info{`,
	} {
		if !strings.Contains(string(page), "\n"+line) {
			t.Errorf("the page has no %s", line)
		}
	}
	for _, secret := range []string{"tenant", "mallory", "prometheus\"", "127.0.0.1"} {
		if strings.Contains(string(page), secret) {
			t.Errorf("the page has %q", secret)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(string(page)) {
			if strings.HasPrefix(line, "front_proxy_") || strings.HasPrefix(line, "kcp_") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}
