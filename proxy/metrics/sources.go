package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/authn/issuer"
	"frontproxy/authn/serviceaccount"
	"frontproxy/authn/webhook"
	"frontproxy/authn/workspacetypes"
	"frontproxy/index"
	"frontproxy/internal/certs"
)

// Sources are asked at each scrape. A nil source is skipped. They may be
// called at any time and several at once.
type Sources struct {
	// Counts are what the index has of each shard.
	Counts func() []index.Count
	// Configurations are how many there are in each state.
	Configurations func() map[workspacetypes.ShownState]int
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
	// Certificates are those whose end matters.
	Certificates []certs.Source
}

// sourceDescs describe what is read from Sources.
type sourceDescs struct {
	clusters, workspaces                      *prometheus.Desc
	configurations, issuers, reloads, expiry  *prometheus.Desc
	shardKeys, shardKeysRead, shardKeysFailed *prometheus.Desc
	webhookReviews, webhookState              *prometheus.Desc
}

func newSourceDescs(b *familyBuilder) sourceDescs {
	return sourceDescs{
		clusters:        b.read("kcp_indexed_logicalclusters", gaugeType, "Logical clusters of a shard in the index.", "shard"),
		workspaces:      b.read("front_proxy_indexed_workspaces", gaugeType, "Workspaces of a shard in the index.", "shard"),
		configurations:  b.read("front_proxy_authentication_configurations", gaugeType, "WorkspaceAuthenticationConfigurations by state.", "state"),
		issuers:         b.read("front_proxy_issuers", gaugeType, "Issuers in use by state. Scope: the operator's (global) or workspaces'.", "scope", "state"),
		webhookReviews:  b.read("front_proxy_webhook_reviews_total", counterType, "Calls to the authentication webhook by result.", "result"),
		webhookState:    b.read("front_proxy_webhook_state", gaugeType, "State of the authentication webhook: 1 for its current state.", "state"),
		shardKeys:       b.read("front_proxy_shard_service_account_keys", gaugeType, "Service account keys fetched from a shard; 0 until the first fetch.", "shard"),
		shardKeysRead:   b.read("front_proxy_shard_service_account_keys_read_timestamp_seconds", gaugeType, "When a shard's service account keys were last fetched successfully; 0: never.", "shard"),
		shardKeysFailed: b.read("front_proxy_shard_service_account_keys_failed", gaugeType, "1 if the last fetch of a shard's service account keys failed; the previous keys stay in use.", "shard"),
		reloads:         b.read("front_proxy_config_last_reload_successful", gaugeType, "1 if the current files of a source are in use; 0 if they changed and cannot be used, so that the previous content stays in use.", "source"),
		expiry: b.read("front_proxy_certificate_expiration_timestamp_seconds", gaugeType,
			"When a certificate expires; for a bundle, the first expiry. Source: the flag, or the entry of the mapping file.", "role", "source"),
	}
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

func (c *sourceCollector) Describe(chan<- *prometheus.Desc) {}

func (c *sourceCollector) Collect(out chan<- prometheus.Metric) {
	m, gauge := &c.m.sources, valuesInto(out, prometheus.GaugeValue)
	if c.s.Counts != nil {
		for _, n := range c.s.Counts() {
			gauge(m.clusters, float64(n.LogicalClusters), n.Shard)
			gauge(m.workspaces, float64(n.Workspaces), n.Shard)
		}
	}
	if c.s.Configurations != nil {
		counts := c.s.Configurations()
		for _, state := range workspacetypes.ShownStates() {
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
		s, count := c.s.Webhook(), valuesInto(out, prometheus.CounterValue)
		for _, result := range webhook.Results() {
			count(m.webhookReviews, float64(s.Counts[result]), string(result))
		}
		for _, state := range webhook.States() {
			gauge(m.webhookState, boolValue(s.State == state), string(state))
		}
	}
	m.collectFiles(gauge, c.s.Reloads, c.s.Certificates)
}

func (d *sourceDescs) collectFiles(gauge valueFunc, reloads map[string]func() error, all []certs.Source) {
	for source, lastError := range reloads {
		gauge(d.reloads, boolValue(lastError() == nil), source)
	}
	for _, s := range all {
		if first := certs.Earliest(s.PEM()); first != nil {
			gauge(d.expiry, float64(first.NotAfter.Unix()), s.Role, s.Source)
		}
	}
}

func (c *sourceCollector) shardKeys(gauge valueFunc) {
	for _, s := range c.s.ShardKeys() {
		read := 0.0
		if !s.Read.IsZero() {
			read = float64(s.Read.Unix())
		}
		gauge(c.m.sources.shardKeys, float64(len(s.IDs)), s.Shard)
		gauge(c.m.sources.shardKeysRead, read, s.Shard)
		gauge(c.m.sources.shardKeysFailed, boolValue(s.Error != ""), s.Shard)
	}
}

// valueFunc emits one value.
type valueFunc func(d *prometheus.Desc, v float64, labels ...string)

func valuesInto(out chan<- prometheus.Metric, kind prometheus.ValueType) valueFunc {
	return func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
