package main

import (
	"os"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"frontproxy/authn"
	"frontproxy/authn/issuer"
	"frontproxy/index"
	"frontproxy/proxy"
)

// newSources are what /metrics tells beyond requests; the parts add to it.
func newSources(root, everyShard *rest.Config, idx *index.Index) proxy.Sources {
	return proxy.Sources{
		Counts:       idx.Counts,
		Issuers:      map[string]func() map[issuer.State]int{},
		Reloads:      map[string]func() error{},
		Certificates: []proxy.Certificates{kubeconfigCertificate("root-kubeconfig", root), kubeconfigCertificate("shards-kubeconfig", everyShard)},
	}
}

// status is what /statusz tells.
func (p *program) status() proxy.StatusSources {
	s := p.details
	s.Version, s.Counts, s.Certificates, s.Reloads = version, p.sources.Counts, p.sources.Certificates, p.sources.Reloads
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

// kubeconfigCertificate is the client certificate of a kubeconfig, if it has
// one; client-go follows its file, and so do we.
func kubeconfigCertificate(flag string, config *rest.Config) proxy.Certificates {
	return proxy.Certificates{Role: "client", Source: flag, PEM: func() []byte {
		if config.CertFile == "" {
			return config.CertData
		}
		data, err := os.ReadFile(config.CertFile) //nolint:gosec // the operator names it
		if err != nil {
			return nil // no end to tell; the watches of shards fail and say why
		}
		return data
	}}
}

// clientCAs is a bundle that client certificates are verified with.
func clientCAs(role, flag string, ca authn.CAPool) proxy.Certificates {
	return proxy.Certificates{Role: role, Source: flag, PEM: ca.CurrentCABundleContent}
}
