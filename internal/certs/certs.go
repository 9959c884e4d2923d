package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"frontproxy/internal/filewatch"
)

// listeners are notified of changes. apiserver adds them before anything runs.
type listeners struct {
	mu  sync.Mutex
	all []dynamiccertificates.Listener
}

func (l *listeners) AddListener(one dynamiccertificates.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, one)
}

func (l *listeners) enqueue() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.all {
		one.Enqueue()
	}
}

// Pair is a certificate and its key, followed while Run runs. It is a
// dynamiccertificates.SNICertKeyContentProvider.
type Pair struct {
	listeners
	*filewatch.File[pair]
	flag  string
	names []string
}

// pair is one reading, as PEM. Immutable.
type pair struct{ cert, key []byte }

// NewPair reads the files for the first time. flag is their name in logs. names are
// the host names to serve the certificate for; empty means those in the certificate.
// A nil clock is the real one.
func NewPair(flag, certFile, keyFile string, names []string, clk clock.Clock, log klog.Logger) (*Pair, error) {
	p := &Pair{flag: flag, names: names}
	var err error
	p.File, err = filewatch.New(filewatch.Config[pair]{
		Name: flag,
		Load: func(_ context.Context, read filewatch.ReadFunc) (next pair, err error) {
			if next.cert, err = read(certFile); err != nil {
				return pair{}, fmt.Errorf("--%s: %w", flag, err)
			}
			if next.key, err = read(keyFile); err != nil {
				return pair{}, fmt.Errorf("--%s, its key: %w", flag, err)
			}
			if _, err := tls.X509KeyPair(next.cert, next.key); err != nil {
				return pair{}, fmt.Errorf("--%s %q and key %q: %w", flag, certFile, keyFile, err)
			}
			return next, nil
		},
		Use:   func(_, _ pair) { p.enqueue() },
		Clock: clk, Log: log,
	})
	return p, err
}

// Name implements dynamiccertificates.CertKeyContentProvider.
func (p *Pair) Name() string { return p.flag }

// CurrentCertKeyContent implements dynamiccertificates.CertKeyContentProvider.
func (p *Pair) CurrentCertKeyContent() (cert, key []byte) {
	now := p.Get()
	return now.cert, now.key
}

// SNINames implements dynamiccertificates.SNICertKeyContentProvider.
func (p *Pair) SNINames() []string { return p.names }

// Bundle is a CA bundle, followed while Run runs. It is a
// dynamiccertificates.CAContentProvider.
type Bundle struct {
	listeners
	*filewatch.File[dynamiccertificates.CAContentProvider]
	flag string
}

// NewBundle reads the file for the first time. flag is its name in logs. A nil clock
// is the real one.
func NewBundle(flag, file string, clk clock.Clock, log klog.Logger) (*Bundle, error) {
	b := &Bundle{flag: flag}
	var err error
	b.File, err = filewatch.New(filewatch.Config[dynamiccertificates.CAContentProvider]{
		Name: flag,
		Load: func(_ context.Context, read filewatch.ReadFunc) (dynamiccertificates.CAContentProvider, error) {
			text, err := read(file)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", flag, err)
			}
			cas, err := dynamiccertificates.NewStaticCAContent(flag, text)
			if err != nil {
				return nil, fmt.Errorf("--%s %q: %w", flag, file, err)
			}
			return cas, nil
		},
		Use:   func(_, _ dynamiccertificates.CAContentProvider) { b.enqueue() },
		Clock: clk, Log: log,
	})
	return b, err
}

// Name implements dynamiccertificates.CAContentProvider.
func (b *Bundle) Name() string { return b.flag }

// CurrentCABundleContent implements dynamiccertificates.CAContentProvider.
func (b *Bundle) CurrentCABundleContent() []byte { return b.Get().CurrentCABundleContent() }

// VerifyOptions implements dynamiccertificates.CAContentProvider. Each version of the
// bundle has its own Roots.
func (b *Bundle) VerifyOptions() (x509.VerifyOptions, bool) { return b.Get().VerifyOptions() }
