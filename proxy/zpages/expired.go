package zpages

import (
	"time"

	"k8s.io/klog/v2"
)

// ExpiredCertificates logs the certificates of /statusz that have expired, each once for as long
// as it is in use. The proxy serves nevertheless: files are followed, and requests that do not
// need the certificate work.
type ExpiredCertificates struct {
	sources *StatusSources
	log     klog.Logger
	logged  map[expiredCertificate]bool // of those that are in use
}

// expiredCertificate is a CertificateState that can be compared.
type expiredCertificate struct {
	role, source, subject string
	expired               int64 // Unix time
}

// NewExpiredCertificates returns one that looks at the certificates of sources.
func NewExpiredCertificates(sources *StatusSources, log klog.Logger) *ExpiredCertificates {
	return &ExpiredCertificates{sources: sources, log: log}
}

// Report logs what has expired at now and was not in use, or had not expired, at the last call.
// Only one goroutine at a time may call it.
func (e *ExpiredCertificates) Report(now time.Time) {
	var o ProxyStatus
	o.addCertificates(e.sources)
	logged := map[expiredCertificate]bool{}
	for _, c := range o.Certificates {
		if !c.Expires.Time.Before(now) {
			continue
		}
		expired := expiredCertificate{c.Role, c.Source, c.Subject, c.Expires.Unix()}
		if !e.logged[expired] {
			e.log.Error(nil, "A certificate has expired: replace it, or remove it from its bundle", "source", c.Source, "role", c.Role, "subject", c.Subject, "expired", c.Expires.UTC())
		}
		logged[expired] = true
	}
	e.logged = logged
}
