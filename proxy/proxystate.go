package proxy

import (
	"fmt"

	"frontproxy/internal/certs"
	"frontproxy/proxy/metrics"
)

// state is what metrics report about the Proxy.
func (p *Proxy) state() metrics.ProxyState {
	s := metrics.ProxyState{
		InFlight: p.inFlight.Load(), Streams: map[string]int{}, RevokedStreams: p.streams.revoked.Load(), MovedStreams: p.streams.moved.Load(), Panics: p.panics.Load(),
		Reloads: p.router.Reloads(), Certificates: p.certificates(),
	}
	for kind, n := range p.streams.set.counts() {
		s.Streams[streamKind(kind).String()] = n
	}
	if p.limit.most > 0 {
		s.Memory = map[string]metrics.MemoryBudget{
			"requests": p.limit.requests.state(), "stream_starts": p.limit.streamStarts.state(), "open_streams": p.limit.openStreams.state(),
		}
	}
	if l := p.listeners.connections; l != nil {
		s.Connections = &metrics.Connections{Open: l.open.Load(), Refused: l.refused.Load(), WithoutHeader: l.withoutHeader.Load(), UnfinishedHead: l.heads.refused.Load()}
	}
	if p.config.Pages.Status.Shards != nil {
		s.Shards = p.config.Pages.Status.Shards().Shards
	}
	return s
}

// certificates are the proxy's own: what it serves with, and what it shows to
// backends and mount hosts and expects of them, as of now.
func (p *Proxy) certificates() []certs.Source {
	var all []certs.Source
	if p.config.Server.Serving != nil && p.config.Server.Serving.Cert != nil {
		all = append(all, certs.Source{Role: "serving", Source: "tls-cert-file", PEM: func() []byte { cert, _ := p.config.Server.Serving.Cert.CurrentCertKeyContent(); return cert }})
		for i, c := range p.config.Server.Serving.SNICerts {
			all = append(all, certs.Source{Role: "serving", Source: fmt.Sprintf("tls-sni-cert-key[%d]", i), PEM: func() []byte { cert, _ := c.CurrentCertKeyContent(); return cert }})
		}
	}
	return append(all, p.router.Certificates()...)
}
