package proxy

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/utils/clock"

	"frontproxy/internal/filewatch"
)

// servingFile is a certificate that is served with, or the CAs that clients are
// told of, as apiserver's machinery reads them from files. Its own following
// sees events of the files only, not a directory that is swapped, and looks at
// no intervals; so we have it read again whenever filewatch says.
type servingFile struct {
	source string // the flag, for metrics
	from   dynamiccertificates.Notifier
	filewatch.Outcome
}

// servingFiles are all that Serving is made of.
func (p *Proxy) newServingFiles() []*servingFile {
	s := p.serving
	if s == nil {
		return nil
	}
	var all []*servingFile
	if s.Cert != nil {
		all = append(all, &servingFile{source: "tls-cert-file", from: s.Cert})
	}
	for i, c := range s.SNICerts {
		all = append(all, &servingFile{source: fmt.Sprintf("tls-sni-cert-key[%d]", i), from: c})
	}
	if s.ClientCA != nil {
		all = append(all, &servingFile{source: "client-ca-file", from: s.ClientCA})
	}
	return all
}

// read reads the files again. On an error what was read before stays.
func (f *servingFile) read(ctx context.Context) error {
	runner, ok := f.from.(dynamiccertificates.ControllerRunner)
	if !ok {
		return nil // made of no file
	}
	return runner.RunOnce(ctx)
}

// followServing reads all again when a file may have changed, until ctx ends.
func (p *Proxy) followServing(ctx context.Context) {
	filewatch.Watch(ctx, clock.RealClock{}, p.log, p.watchedFiles, func() {
		for _, f := range p.servingFiles {
			if err := f.read(ctx); f.Set(err) {
				p.log.Error(err, "A serving certificate or the CAs of clients changed and cannot be used; what was read before stays in use", "flag", f.source)
			}
		}
	})
}
