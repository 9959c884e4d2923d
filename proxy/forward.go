package proxy

import (
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/proxy/apistatus"
)

// forward sends the request to its Destination and the answer to the client.
func (x *exchange) forward(w http.ResponseWriter, r *http.Request) {
	x.rp.BufferPool, x.rp.Transport = x.p.buffers.large, x.dest.Transport
	r = x.withWatchContext(r)
	x.inbound = r
	held := r
	if !x.upgrade {
		if held = x.bufferRequest(w, r); held == nil {
			return
		}
	}
	if status := x.charges.startRunning(&x.p.limit, x.decision.User, &x.dest); status != nil {
		x.answer(w, status)
		return
	}
	x.writer = clientWriter{w, x.charges, x.upload, r.ProtoMajor == 2}
	if x.upgrade {
		x.tunnel(&x.writer, r)
		return
	}
	x.rp.ServeHTTP(&x.writer, held)
}

// tunnel is forward for upgrades.
func (x *exchange) tunnel(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	st := x.p.streams.add(upgradeStream, cancel, x.p.streamAuthn(r, &x.dest, x.decision))
	defer x.p.streams.remove(st)
	x.p.endWhenMoved(st, &x.dest, nil)
	x.rp.ServeHTTP(w, r.WithContext(ctx))
}

// bufferRequest reads a small body; nil: the body did not arrive in time, and the client has
// its answer.
func (x *exchange) bufferRequest(w http.ResponseWriter, r *http.Request) *http.Request {
	held, err := bufferBody(r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		x.tooLate(w)
		return nil
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the client broke off: nobody reads an answer
	}
	return held
}

// tooLate answers a client whose body did not come.
func (x *exchange) tooLate(w http.ResponseWriter) {
	if x.upload.http1 { // over HTTP/2 only the stream is lost
		w.Header().Set("Connection", "close")
	}
	x.answer(w, apistatus.New(http.StatusRequestTimeout, metav1.StatusReasonTimeout, "the request's body did not arrive in time"))
}

// failed answers when the upstream did not: a client that went away gets
// nothing, anybody else a 503 that names the shard and no address.
func (x *exchange) failed(w http.ResponseWriter, r *http.Request, err error) {
	if x.upload != nil && x.upload.timedOut() && !x.headerWritten {
		x.tooLate(w)
		return
	}
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	x.p.Metrics.NotForwarded(x.dest.Kind, x.dest.Shard, err)
	what := x.dest.Name()
	if x.p.failures.AllowN(x.p.Now(), 1) {
		x.p.Log.Error(err, "Request could not be forwarded; the number of these lines is limited", "to", what, "method", r.Method)
	}
	if x.headerWritten {
		panic(http.ErrAbortHandler) // an upgrade that failed half-way
	}
	x.answer(w, apistatus.Unreachable(what, x.p.failing(x.dest.Shard)))
}

// failing is how long the proxy has not been able to watch anything on a shard; 0: it is, or the shard
// is not known.
func (p *Proxy) failing(shard string) time.Duration {
	if p.Routing.ShardFailingSince == nil {
		return 0
	}
	if since := p.Routing.ShardFailingSince(shard); !since.IsZero() {
		return p.Now().Sub(since)
	}
	return 0
}
