package main

import (
	"context"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server/flagz"
	cliflag "k8s.io/component-base/cli/flag"

	"frontproxy/proxy/zpages"
)

// status returns the content of /statusz.
func (p *program) status() zpages.StatusSources {
	s := p.details
	s.Version, s.Counts, s.Certificates, s.Reloads = version, p.sources.Counts, p.sources.Certificates, p.sources.Reloads
	s.Webhook = p.sources.Webhook
	return s
}

// flagValues returns the current values of all flags, for /flagz. None is a secret:
// flags that need one name a file. If a flag ever has a secret value, it must be
// marked with the annotation "classified", like Kubernetes' own.
func flagValues(all *pflag.FlagSet) map[string]string {
	return flagz.NamedFlagSetsReader{FlagSets: cliflag.NamedFlagSets{FlagSets: map[string]*pflag.FlagSet{"all": all}}}.GetFlagz()
}

// followed is a type that follows files.
type followed interface {
	Run(ctx context.Context) error
	LastError() error
	// Reload makes Run check the files now.
	Reload()
}

// follows runs f. Metrics and /statusz report whether its files are in use, and
// SIGHUP makes it check them. flag names the files.
func (p *program) follows(flag string, f followed) {
	p.add(f.Run)
	p.sources.Reloads[flag] = f.LastError
	p.reloads = append(p.reloads, f.Reload)
}

// reloadOn makes all followed files be checked whenever a signal arrives, until ctx
// ends. The rules for when a change takes effect stay the same, because a signal may
// arrive while a file is being written.
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
