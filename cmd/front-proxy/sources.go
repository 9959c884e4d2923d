package main

import (
	"context"
	"os"

	"github.com/spf13/pflag"

	"frontproxy/authn"
	"frontproxy/authn/issuer"
	"frontproxy/index"
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

// followed is what follows files.
type followed interface {
	Run(ctx context.Context) error
	LastError() error
	// Reload has Run look at the files now.
	Reload()
}

// follows has files followed, metrics and /statusz tell whether what they have is
// in use, and SIGHUP look at them. flag names the files.
func (p *program) follows(flag string, f followed) {
	p.add(f.Run)
	p.sources.Reloads[flag] = f.LastError
	p.reloads = append(p.reloads, f.Reload)
}

// reloadOn has all followed files looked at now, whenever a signal comes, until ctx
// ends. What is believed and what not stays the same: a signal may come while a
// file is being written.
func (p *program) reloadOn(ctx context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-signals:
			p.log.Info("Checking all followed files", "signal", s.String())
			for _, reload := range p.reloads {
				reload()
			}
		}
	}
}

// clientCAs is a bundle that client certificates are verified with.
func clientCAs(role, flag string, ca authn.CAPool) proxy.CertificateSource {
	return proxy.CertificateSource{Role: role, Source: flag, PEM: ca.CurrentCABundleContent}
}
