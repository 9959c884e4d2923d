package proxy

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/authn"
	"frontproxy/authn/issuer"
	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/webhook"
	"frontproxy/index"
	"frontproxy/index/shards"
	"frontproxy/internal/certs"
)

// Sources are asked at each scrape. A nil one has nothing to tell. They may be
// called at any time and several at once.
type Sources struct {
	// Counts are what the index has of each shard.
	Counts func() []index.Count
	// Configurations are how many there are in each state.
	Configurations func() map[authn.ConfigurationState]int
	// Issuers are how many there are in each state, by scope: "global" and
	// "workspace".
	Issuers map[string]func() map[issuer.State]int
	// Reloads tell why a changed file can not be used, nil when it can; by the
	// name of the flag that names the file.
	Reloads map[string]func() error
	// ShardKeys are the service account keys learnt from shards.
	ShardKeys func() []serviceaccount.ShardKeysStatus
	// Webhook is the authentication webhook.
	Webhook func() webhook.Status
	// certs.Source are those whose end matters.
	Certificates []certs.Source

	own func() []certs.Source // nil: none
}

// RegisterSources has s asked at each scrape, once for each Metrics: two sources of the
// same kind and name would collide.
func (m *Metrics) RegisterSources(s Sources) { m.registry.MustRegister(&sourceCollector{m, s}) }

// sourceCollector is unchecked: it describes nothing, so that there may be
// several.
type sourceCollector struct {
	m *Metrics
	s Sources
}

// Describe implements prometheus.Collector.
func (c *sourceCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *sourceCollector) Collect(out chan<- prometheus.Metric) {
	m, gauge := c.m, gaugesInto(out)
	if c.s.Counts != nil {
		for _, n := range c.s.Counts() {
			gauge(m.clusters, float64(n.LogicalClusters), n.Shard)
			gauge(m.workspaces, float64(n.Workspaces), n.Shard)
		}
	}
	if c.s.Configurations != nil {
		counts := c.s.Configurations()
		for _, state := range authn.ConfigurationStates() {
			gauge(m.configurations, float64(counts[state]), string(state))
		}
	}
	for scope, states := range c.s.Issuers {
		counts := states()
		for _, state := range issuer.States() {
			gauge(m.issuers, float64(counts[state]), scope, string(state))
		}
	}
	if c.s.ShardKeys != nil {
		c.shardKeys(gauge)
	}
	if c.s.Webhook != nil {
		s := c.s.Webhook()
		for _, result := range webhook.Results() {
			out <- prometheus.MustNewConstMetric(m.webhookReviews, prometheus.CounterValue, float64(s.Counts[result]), string(result))
		}
		for _, state := range webhook.States() {
			gauge(m.webhookState, boolValue(s.State == state), string(state))
		}
	}
	for source, lastError := range c.s.Reloads {
		gauge(m.reloads, boolValue(lastError() == nil), source)
	}
	all := c.s.Certificates
	if c.s.own != nil {
		all = slices.Concat(all, c.s.own())
	}
	for _, s := range all {
		if first := certs.Earliest(s.PEM()); first != nil {
			gauge(m.expiry, float64(first.NotAfter.Unix()), s.Role, s.Source)
		}
	}
}

func (c *sourceCollector) shardKeys(gauge func(*prometheus.Desc, float64, ...string)) {
	for _, s := range c.s.ShardKeys() {
		read := 0.0
		if !s.Read.IsZero() {
			read = float64(s.Read.Unix())
		}
		gauge(c.m.shardKeys, float64(len(s.IDs)), s.Shard)
		gauge(c.m.shardKeysRead, read, s.Shard)
		gauge(c.m.shardKeysFailed, boolValue(s.Err != nil), s.Shard)
	}
}

func gaugesInto(out chan<- prometheus.Metric) func(*prometheus.Desc, float64, ...string) {
	return func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// proxyCollector tells what a Proxy knows of itself.
type proxyCollector struct {
	p    *Proxy
	sync func() shards.Status
}

// Describe implements prometheus.Collector: nothing, as sourceCollector does.
func (c *proxyCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *proxyCollector) Collect(out chan<- prometheus.Metric) {
	p, m, gauge := c.p, c.p.metrics, gaugesInto(out)
	gauge(m.inFlight, float64(p.inFlight.Load()))
	for kind, n := range p.streams.counts() {
		gauge(m.openStreams, float64(n), streamKind(kind).String())
	}
	out <- prometheus.MustNewConstMetric(m.endedStreams, prometheus.CounterValue, float64(p.endedStreams.Load()))
	out <- prometheus.MustNewConstMetric(m.panics, prometheus.CounterValue, float64(p.panics.Load()))
	if l := p.connections; l != nil {
		gauge(m.openConnections, float64(l.open.Load()))
		out <- prometheus.MustNewConstMetric(m.refusedConnections, prometheus.CounterValue, float64(l.refused.Load()))
	}
	for source, lastError := range p.router.Reloads() {
		gauge(m.reloads, boolValue(lastError() == nil), source)
	}
	if c.sync == nil {
		return
	}
	for _, s := range c.sync().Shards {
		gauge(m.shardReady, boolValue(s.Synced), s.Name)
	}
}

// certificates are the proxy's own: what it serves with, and what it shows to
// backends and mount hosts and expects of them, as of now.
func (p *Proxy) certificates() []certs.Source {
	var all []certs.Source
	if p.serving != nil && p.serving.Cert != nil {
		all = append(all, certs.Source{Role: "serving", Source: "tls-cert-file", PEM: func() []byte { cert, _ := p.serving.Cert.CurrentCertKeyContent(); return cert }})
		for i, c := range p.serving.SNICerts {
			all = append(all, certs.Source{Role: "serving", Source: fmt.Sprintf("tls-sni-cert-key[%d]", i), PEM: func() []byte { cert, _ := c.CurrentCertKeyContent(); return cert }})
		}
	}
	return append(all, p.router.Certificates()...)
}
