package main

import (
	"github.com/spf13/pflag"

	"frontproxy/authn"
	"frontproxy/authn/issuer"
	"frontproxy/index"
	"frontproxy/internal/kubeconfig"
	"frontproxy/proxy"
)

// newSources are what /metrics tells beyond requests; the parts add to it.
func newSources(idx *index.Index) proxy.Sources {
	return proxy.Sources{
		Counts:  idx.Counts,
		Issuers: map[string]func() map[issuer.State]int{},
		Reloads: map[string]func() error{},
	}
}

// status is what /statusz tells.
func (p *program) status() proxy.StatusSources {
	s := p.details
	s.Version, s.Counts, s.Certificates, s.Reloads = version, p.sources.Counts, p.sources.Certificates, p.sources.Reloads
	s.Webhook = p.sources.Webhook
	return s
}

// flagValues are all flags as they are in force, for /flagz. None holds a
// secret: those that need one name a file. One that ever does must be marked
// with the annotation "classified", as Kubernetes' own are.
func flagValues(all *pflag.FlagSet) map[string]string {
	values := map[string]string{}
	all.VisitAll(func(f *pflag.Flag) {
		values[f.Name] = f.Value.String()
		if len(f.Annotations["classified"]) > 0 {
			values[f.Name] = "CLASSIFIED"
		}
	})
	return values
}

// tell has metrics and /statusz tell of a followed kubeconfig.
func (p *program) tell(flag string, f *kubeconfig.Followed) {
	p.sources.Reloads[flag] = f.LastError
	p.sources.Certificates = append(p.sources.Certificates, proxy.Certificates{Role: "client", Source: flag, PEM: f.Certificate})
}

// clientCAs is a bundle that client certificates are verified with.
func clientCAs(role, flag string, ca authn.CAPool) proxy.Certificates {
	return proxy.Certificates{Role: role, Source: flag, PEM: ca.CurrentCABundleContent}
}
