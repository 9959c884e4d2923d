package proxy

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/klog/v2"

	"frontproxy/proxy/destination"
	"frontproxy/proxy/metrics"
)

// errIdentityRejected tells the operator that a server does not trust the proxy's
// identity headers. Users then see refusals that nothing on their side explains.
var errIdentityRejected = errors.New("it does not trust the identity headers that the proxy sends: the proxy's client certificate for it (proxy_client_cert in the mapping file) has expired, its CA is not in that server's --requestheader-client-ca-file, or its name not in --requestheader-allowed-names")

// maxRefusal bounds, in bytes, the refusals that are looked into.
const maxRefusal = 4 << 10

// record counts and logs an answer that can only mean that the server
// does not believe the proxy: 401 to somebody who was admitted here, or a refusal
// of system:anonymous in place of that user. It is for 401 and 403 only, from the server at
// d. admitted is nil when nobody was; impersonates: the request asks to act as another user.
func (i *identityRejections) record(res *http.Response, d *destination.Destination, admitted user.Info, impersonates bool) {
	if d.Kind == destination.MountedHost || admitted == nil || impersonates {
		return
	}
	if res.StatusCode == http.StatusForbidden && !isAnonymousForbidden(res) {
		return
	}
	i.metrics.IdentityRejected(d.Kind, d.Shard)
	i.add(d.Name(), i.now())
	if i.lines.AllowN(i.now(), 1) {
		i.log.Error(errIdentityRejected, "A server refused a user whom this proxy admitted; logged at most once a minute", "server", d.Name(), "code", res.StatusCode)
	}
}

// rejectionCounts is for how long explanations mention that a server refused a user whom the
// proxy had admitted. Whether it would do so again is not known.
const rejectionCounts = 5 * time.Minute

// identityRejections are the servers that lately refused users whom the proxy had admitted. Safe
// for concurrent use.
type identityRejections struct {
	lines   *rate.Limiter // of the log
	log     klog.Logger
	now     func() time.Time
	metrics *metrics.Metrics

	mu  sync.Mutex
	all map[string]time.Time // the last refusals, by Destination.Name
}

func (i *identityRejections) add(server string, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.all == nil {
		i.all = map[string]time.Time{}
	}
	maps.DeleteFunc(i.all, func(_ string, at time.Time) bool { return now.Sub(at) >= rejectionCounts })
	i.all[server] = now
}

// last is when a server last refused a user; zero: it has not lately.
func (i *identityRejections) last(server string, now time.Time) time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at := i.all[server]; now.Sub(at) < rejectionCounts {
		return at
	}
	return time.Time{}
}

// isAnonymousForbidden reports whether an API server's short refusal is one of
// system:anonymous, as JSON or protobuf. The answer stays as it is.
func isAnonymousForbidden(res *http.Response) bool {
	if res.ContentLength <= 0 || res.ContentLength > maxRefusal || res.Header.Get("Content-Encoding") != "" {
		return false
	}
	read, _ := io.ReadAll(res.Body) // a body that has failed fails again when it is read on
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), res.Body), res.Body}
	quoted := bytes.ReplaceAll(read, []byte(`\"`), []byte(`"`))
	return bytes.Contains(quoted, []byte(`User "`+user.Anonymous+`"`))
}
