package metrics

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"frontproxy/index/shards"
	"frontproxy/proxy/destination"
)

// shows compares the lines of the page that begin with prefix.
func shows(t *testing.T, m *Metrics, prefix string, want ...string) {
	t.Helper()
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	var got []string
	for line := range strings.Lines(rec.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", prefix, diff)
	}
}

func TestUpstreamErrors(t *testing.T) {
	alert := func(text string) error { return &net.OpError{Op: "remote error", Err: errors.New(text)} }
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"unknown CA", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "unknown_ca"},
		{"expired", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "expired_cert"},
		{"another fault of the certificate", x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, "other"},
		{"another host's", &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}}}, "hostname_mismatch"},
		{"no TLS at all", tls.RecordHeaderError{}, "cipher_mismatch"},
		{"no common cipher", alert("tls: handshake failure"), "cipher_mismatch"},
		{"our certificate is refused", alert("tls: unknown certificate authority"), "other"},
		{"wrapped", &url.Error{Op: "Get", Err: x509.UnknownAuthorityError{}}, "unknown_ca"},
		{"no connection", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, ""},
		{"something else", io.ErrUnexpectedEOF, ""},
	} {
		if got := tlsErrorType(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	m := New("")
	m.NotForwarded(destination.Shard, "shard-1", x509.UnknownAuthorityError{})
	m.NotForwarded(destination.MountedHost, "", x509.UnknownAuthorityError{})
	m.NotForwarded(destination.Backend, "", x509.UnknownAuthorityError{})
	m.NotForwarded(destination.Shard, "shard-1", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded})
	m.NotForwarded(destination.Shard, "shard-1", io.ErrUnexpectedEOF)
	shows(t, m, "kcp_listener_tls_connection_error",
		`kcp_listener_tls_connection_error{error_type="unknown_ca",shard="shard-1"} 1`,
		`kcp_listener_tls_connection_error{error_type="unknown_ca",shard="unknown"} 1`)
	shows(t, m, "front_proxy_upstream_errors_total",
		`front_proxy_upstream_errors_total{reason="other",shard="shard-1",upstream="shard"} 1`,
		`front_proxy_upstream_errors_total{reason="timeout",shard="shard-1",upstream="shard"} 1`,
		`front_proxy_upstream_errors_total{reason="tls",shard="",upstream="backend"} 1`,
		`front_proxy_upstream_errors_total{reason="tls",shard="",upstream="mount"} 1`,
		`front_proxy_upstream_errors_total{reason="tls",shard="shard-1",upstream="shard"} 1`)
}

func TestMetricsOfFeeds(t *testing.T) {
	m := New("")
	watches := m.Watches()
	for _, shard := range []string{"", "a", "b"} {
		watches.ResourceWatchState(shard, "workspaces.tenancy.kcp.io", shards.Syncing)
		watches.ResourceWatchState(shard, "workspaces.tenancy.kcp.io", shards.Synced)
		watches.Listed(shard, "workspaces.tenancy.kcp.io", 7)
		watches.ResourceWatchFailed(shard, "workspaces.tenancy.kcp.io", "not_found")
		watches.Skipped(shard, "workspaces.tenancy.kcp.io")
	}
	watches.Listed("a", "workspaces.tenancy.kcp.io", 8)
	watches.Forget("b")
	var want []string
	for _, shard := range []string{"", "a"} {
		labels := fmt.Sprintf(`resource="workspaces.tenancy.kcp.io",shard="%s"`, shard)
		for _, state := range []string{"failed", "synced", "syncing", "waiting"} {
			want = append(want, fmt.Sprintf("front_proxy_resource_watch_state{%s,state=%q} %d", labels, state, map[bool]int{true: 1}[state == "synced"]))
		}
	}
	shows(t, m, "front_proxy_resource_watch_state", want...)
	shows(t, m, "front_proxy_resource_watch_listed", `front_proxy_resource_watch_listed_objects{resource="workspaces.tenancy.kcp.io",shard=""} 7`, `front_proxy_resource_watch_listed_objects{resource="workspaces.tenancy.kcp.io",shard="a"} 8`)
	shows(t, m, "front_proxy_resource_watch_lists", `front_proxy_resource_watch_lists_total{resource="workspaces.tenancy.kcp.io",shard=""} 1`, `front_proxy_resource_watch_lists_total{resource="workspaces.tenancy.kcp.io",shard="a"} 2`)
	shows(t, m, "front_proxy_resource_watch_failures", `front_proxy_resource_watch_failures_total{reason="not_found",resource="workspaces.tenancy.kcp.io",shard=""} 1`,
		`front_proxy_resource_watch_failures_total{reason="not_found",resource="workspaces.tenancy.kcp.io",shard="a"} 1`)
	shows(t, m, "front_proxy_resource_watch_skipped", `front_proxy_resource_watch_skipped_objects_total{resource="workspaces.tenancy.kcp.io",shard=""} 1`,
		`front_proxy_resource_watch_skipped_objects_total{resource="workspaces.tenancy.kcp.io",shard="a"} 1`)
}

// TestFamiliesLint: our names follow Prometheus' rules. kcp's do not all.
func TestFamiliesLint(t *testing.T) {
	for _, family := range New("").Families() {
		if problems, err := testutil.CollectAndLint(described{family}); err != nil || len(problems) > 0 && strings.HasPrefix(family.Name, "front_proxy_") {
			t.Errorf("%s: %v, %v", family.Name, problems, err)
		}
	}
}

// described collects one value of a family, whatever has been counted.
type described struct{ Family }

func (d described) desc() *prometheus.Desc { return prometheus.NewDesc(d.Name, d.Help, d.Labels, nil) }

func (d described) Describe(out chan<- *prometheus.Desc) { out <- d.desc() }

func (d described) Collect(out chan<- prometheus.Metric) {
	labels := make([]string, len(d.Labels))
	switch d.Type {
	case counterType:
		out <- prometheus.MustNewConstMetric(d.desc(), prometheus.CounterValue, 1, labels...)
	case gaugeType:
		out <- prometheus.MustNewConstMetric(d.desc(), prometheus.GaugeValue, 1, labels...)
	case histogramType:
		out <- prometheus.MustNewConstHistogram(d.desc(), 1, 1, map[float64]uint64{1: 1}, labels...)
	}
}
