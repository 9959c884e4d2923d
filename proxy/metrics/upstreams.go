package metrics

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/proxy/destination"
)

// upstreamMetrics count what is exchanged with upstreams, and what fails there.
type upstreamMetrics struct {
	tlsErrors, errors, sent, received *prometheus.CounterVec
}

// Traffic are the bytes of bodies sent to a shard and received from it. The zero Traffic
// counts nothing: its counters are nil.
type Traffic struct{ Sent, Received prometheus.Counter }

// unknownShard is kcp's label for a TLS connection to no shard.
const unknownShard = "unknown"

func newUpstreamMetrics(b *familyBuilder) upstreamMetrics {
	return upstreamMetrics{
		tlsErrors: b.counter("kcp_listener_tls_connection_error", "Failed TLS connections to shards, by kind of error.", "shard", "error_type"),
		errors: b.counter("front_proxy_upstream_errors_total",
			"Requests that could not be forwarded, or whose response was interrupted, while the client was connected. Upstream: shard, backend (of another mapping) or mount (a host that a tenant chose).", "upstream", "shard", "reason"),
		sent:     b.counter("kcp_backend_rq_body_bytes", "Bytes of request bodies sent to shards, without upgraded connections.", "shard"),
		received: b.counter("kcp_backend_rs_body_bytes", "Bytes of response bodies received from shards, without upgraded connections.", "shard"),
	}
}

func (m *upstreamMetrics) forget(shard string) {
	for _, v := range []*prometheus.CounterVec{m.tlsErrors, m.errors, m.sent, m.received} {
		v.DeletePartialMatch(prometheus.Labels{"shard": shard})
	}
}

// Traffic are the counters of a shard.
func (m *Metrics) Traffic(shard string) Traffic {
	return Traffic{Sent: m.upstreams.sent.WithLabelValues(shard), Received: m.upstreams.received.WithLabelValues(shard)}
}

// ResponseInterrupted counts a response that broke off while the client was connected.
// Shard is empty unless to is a shard's.
func (m *Metrics) ResponseInterrupted(to destination.Kind, shard string) {
	m.upstreams.errors.WithLabelValues(to.String(), shard, "response_interrupted").Inc()
}

// IdentityRejected counts a response that shows that a server does not trust the proxy's
// identity headers.
func (m *Metrics) IdentityRejected(to destination.Kind, shard string) {
	m.upstreams.errors.WithLabelValues(to.String(), shard, "identity_rejected").Inc()
}

// NotForwarded counts a request that could not be forwarded.
func (m *Metrics) NotForwarded(to destination.Kind, shard string, err error) {
	reason := "other"
	kind := tlsErrorType(err)
	var network net.Error
	var op *net.OpError
	switch {
	case kind != "":
		reason = "tls"
		switch to {
		case destination.Shard, destination.VirtualWorkspace:
			m.upstreams.tlsErrors.WithLabelValues(shard, kind).Inc()
		case destination.Backend:
			m.upstreams.tlsErrors.WithLabelValues(unknownShard, kind).Inc()
		}
	case errors.As(err, &network) && network.Timeout():
		reason = "timeout"
	case errors.As(err, &op) && op.Op == "dial":
		reason = "connect"
	}
	m.upstreams.errors.WithLabelValues(to.String(), shard, reason).Inc()
}

// tlsErrorType is kcp's label for a failed TLS connection; empty for any other
// failure.
func tlsErrorType(err error) string {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &authority):
		return "unknown_ca"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "expired_cert"
	case errors.As(err, &host):
		return "hostname_mismatch"
	case errors.As(err, &record):
		return "cipher_mismatch"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // crypto/tls' alerts
		if op.Err.Error() == "tls: handshake failure" || op.Err.Error() == "tls: protocol version not supported" {
			return "cipher_mismatch"
		}
		return "other"
	case errors.As(err, &invalid), errors.As(err, &verification):
		return "other"
	}
	return ""
}
