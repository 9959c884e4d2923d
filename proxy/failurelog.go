package proxy

import (
	"time"

	"golang.org/x/time/rate"
	"k8s.io/klog/v2"
)

// What requests that could not be forwarded may write to the log: clients, and
// tenants with dead mounts, choose how many there are.
const (
	failureLines = 5 // a second
	failureBurst = 20
)

// failureLog logs failures at upstreams, in a limited number of lines.
type failureLog struct {
	lines *rate.Limiter
	log   klog.Logger
	now   func() time.Time
}

// report logs a failure, unless there are too many lines.
func (l *failureLog) report(err error, message string, values ...any) {
	if l.lines.AllowN(l.now(), 1) {
		l.log.WithCallDepth(1).Error(err, message+"; the number of these lines is limited", values...)
	}
}
