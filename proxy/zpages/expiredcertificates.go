package zpages

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// ExpiredCertificates logs the certificates of /statusz that have expired, each once for as long
// as it is in use. The proxy serves nevertheless: files are followed, and requests that do not
// need the certificate work.
type ExpiredCertificates struct {
	sources *StatusSources
	log     klog.Logger
	logged  map[CertificateState]bool // of those that are in use
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
	logged := map[CertificateState]bool{}
	for _, c := range o.Certificates {
		if !c.Expires.Time.Before(now) {
			continue
		}
		c.Expires = metav1.NewTime(c.Expires.UTC()) // times of other zones differ
		if !e.logged[c] {
			e.log.Error(nil, "A certificate has expired: replace it, or remove it from its bundle", "source", c.Source, "role", c.Role, "subject", c.Subject, "expired", c.Expires.Time)
		}
		logged[c] = true
	}
	e.logged = logged
}
