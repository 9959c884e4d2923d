package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"frontproxy/index/shards"
	"frontproxy/internal/certs"
)

// ProxyState is what a Proxy reports about itself at a scrape.
type ProxyState struct {
	// InFlight are the requests under way.
	InFlight int64
	// Streams are those that are open, by kind.
	Streams map[string]int
	// RevokedStreams are those that were no longer admitted, and MovedStreams those whose
	// logical cluster has moved; these and Panics are since the start.
	RevokedStreams, MovedStreams, Panics uint64
	// Connections are the clients'; nil: the Proxy has no listener.
	Connections *Connections
	// Memory has the budgets of what clients may hold, by name.
	Memory map[string]MemoryBudget
	// Reloads tell why a changed file can not be used, nil when it can, by source.
	Reloads map[string]func() error
	// Certificates are those whose end matters.
	Certificates []certs.Source
	// Shards are those there are; nil: nobody knows.
	Shards []shards.ShardStatus
}

// Connections are the clients' that are open, those refused since the start, those of
// load balancers that had no header of the PROXY protocol, and those closed because there was no
// memory for the unfinished head of their request.
type Connections struct{ Open, Refused, WithoutHeader, UnfinishedHead int64 }

// MemoryBudget is how many bytes are charged to clients, and how many may be. Limit 0: there is no bound.
type MemoryBudget struct{ Charged, Limit int64 }

// proxyDescs describe what is read from ProxyState alone.
type proxyDescs struct {
	inFlight, openStreams, panics, shardReady, endedStreams *prometheus.Desc
	openConnections, refusedConnections, withoutHeader      *prometheus.Desc
	unfinishedHead, chargedMemory, chargedMemoryLimit       *prometheus.Desc
}

func newProxyDescs(b *familyBuilder) proxyDescs {
	return proxyDescs{
		inFlight:           b.read("front_proxy_requests_in_flight", gaugeType, "Requests in flight, watches and upgrades included."),
		openStreams:        b.read("front_proxy_open_streams", gaugeType, "Open watches and upgraded connections, and other responses of unknown length that have lasted for 15 s (kind answer).", "kind"),
		openConnections:    b.read("front_proxy_open_connections", gaugeType, "Open client connections."),
		refusedConnections: b.read("front_proxy_refused_connections_total", counterType, "Client connections closed on arrival because --max-connections were open, or because their address had most of these."),
		withoutHeader:      b.read("front_proxy_connections_without_proxy_header_total", counterType, "Connections from --proxy-protocol-trusted-cidrs that were closed because they did not begin with a PROXY protocol version 2 header of a TCP client."),
		unfinishedHead:     b.read("front_proxy_connections_with_unfinished_headers_total", counterType, "Client connections that were closed because their request's headers were large and unfinished, their certificates large, or many HTTP/2 answers unread, and the memory for these was used up."),
		chargedMemory:      b.read("front_proxy_charged_memory_bytes", gaugeType, "Memory that is charged to clients: for requests under way, for requests that start a stream, and for open streams. See --max-requests-inflight.", "budget"),
		chargedMemoryLimit: b.read("front_proxy_charged_memory_limit_bytes", gaugeType, "How much may be charged in all. One workspace or address gets 429 before all of it is used. No series: there is no bound.", "budget"),
		endedStreams:       b.read("front_proxy_streams_revoked_total", counterType, "Watches and upgraded connections ended because what admitted them was gone (reason not_admitted), or because their logical cluster had moved to another shard (moved).", "reason"),
		panics:             b.read("front_proxy_panics_total", counterType, "Contained panics; each one is a bug to report."),
		shardReady:         b.read("front_proxy_shard_synced", gaugeType, "1 once everything that the proxy reads from a shard has been read.", "shard"),
	}
}

// RegisterProxy has the state of the Proxy read at each scrape, once for each Metrics.
func (m *Metrics) RegisterProxy(state func() ProxyState) {
	m.registry.MustRegister(&proxyCollector{m, state})
}

// proxyCollector is unchecked, as sourceCollector is.
type proxyCollector struct {
	m     *Metrics
	state func() ProxyState
}

func (c *proxyCollector) Describe(chan<- *prometheus.Desc) {}

func (c *proxyCollector) Collect(out chan<- prometheus.Metric) {
	s, d := c.state(), &c.m.proxy
	gauge, count := valuesInto(out, prometheus.GaugeValue), valuesInto(out, prometheus.CounterValue)
	gauge(d.inFlight, float64(s.InFlight))
	for kind, n := range s.Streams {
		gauge(d.openStreams, float64(n), kind)
	}
	count(d.endedStreams, float64(s.RevokedStreams), "not_admitted")
	count(d.endedStreams, float64(s.MovedStreams), "moved")
	count(d.panics, float64(s.Panics))
	if s.Connections != nil {
		gauge(d.openConnections, float64(s.Connections.Open))
		count(d.refusedConnections, float64(s.Connections.Refused))
		count(d.withoutHeader, float64(s.Connections.WithoutHeader))
		count(d.unfinishedHead, float64(s.Connections.UnfinishedHead))
	}
	for budget, m := range s.Memory {
		gauge(d.chargedMemory, float64(m.Charged), budget)
		if m.Limit > 0 {
			gauge(d.chargedMemoryLimit, float64(m.Limit), budget)
		}
	}
	c.m.sources.collectFiles(gauge, s.Reloads, s.Certificates)
	for _, shard := range s.Shards {
		gauge(d.shardReady, boolValue(shard.Synced), shard.Name)
	}
}
