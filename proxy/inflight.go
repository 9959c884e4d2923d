package proxy

import (
	"bufio"
	"hash/maphash"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
)

// inFlight bounds the requests that run at a time (waiting.go says when one does),
// and with them the memory that they take: Config.MaxInFlight in all, half of that
// at one shard or mapped backend, so that a slow one leaves room for the others, and
// an eighth in one logical cluster, so that one tenant's users leave room for others.
// Watches and other streams are not counted, as in kube-apiserver.
type inFlight struct {
	most int64 // 0: no bound
	all  atomic.Int64
	// clusters has the counters of logical clusters, by a hash of the name, because
	// counters by name would pile up. Clusters with the same hash share a limit.
	seed     maphash.Seed
	clusters [4096]atomic.Int64

	mu     sync.RWMutex // guards shards
	shards map[string]*atomic.Int64

	// waiting is the memory budget of requests; streams is that of requests for watches
	// and other streams, until the response begins. They are separate, so that many watches
	// that reconnect at once neither are refused because of other requests nor take their
	// room.
	waiting, streams waiting
}

func (f *inFlight) init(most int) {
	f.most, f.seed = int64(most), maphash.MakeSeed()
	f.waiting.limit, f.waiting.seed = budget(f.most, waitingBytes), f.seed
	f.streams.limit, f.streams.seed = budget(f.most, streamsBytes), f.seed
}

// budget is for so many requests, in bytes; 0: no bound.
func budget(most, each int64) int64 {
	if most == 0 {
		return 0
	}
	return max(most*each, leastBytes)
}

// shard counts the requests of a shard, or, by its path, of a mapping's backend.
// They are few, and none is forgotten.
func (f *inFlight) shard(name string) *atomic.Int64 {
	f.mu.RLock()
	n := f.shards[name]
	f.mu.RUnlock()
	if n != nil {
		return n
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n = f.shards[name]; n == nil {
		n = &atomic.Int64{}
		if f.shards == nil {
			f.shards = map[string]*atomic.Int64{}
		}
		f.shards[name] = n
	}
	return n
}

func (f *inFlight) cluster(name string) *atomic.Int64 {
	return &f.clusters[maphash.String(f.seed, name)%uint64(len(f.clusters))]
}

// running has the counters in which one running request is counted; any may be nil.
type running struct{ all, cluster, shard *atomic.Int64 }

func (t *running) add(n int64) {
	for _, c := range [...]*atomic.Int64{t.all, t.cluster, t.shard} {
		if c != nil {
			c.Add(n)
		}
	}
}

// place takes one of max(most, 1) places of n; nil: all are taken.
func place(n *atomic.Int64, most int64) *atomic.Int64 {
	if n.Add(1) > max(most, 1) {
		n.Add(-1)
		return nil
	}
	return n
}

// places are what one request holds: memory in a waiting budget, a place among running
// requests, or nothing. The zero value holds nothing. Its methods may be called by
// several goroutines, also when the request is over.
type places struct {
	mu          sync.Mutex
	budget      *waiting // nil: no bound
	weight      int64    // what payer pays; host pays answerBytes more
	payer, host *atomic.Int64
	running     running
	runs        bool // it is counted in running, unless clientWaits > 0
	clientWaits int  // how many goroutines wait for the client
}

// beginClientWait is called before the proxy waits for the client. Meanwhile a running
// request does not count as running; its memory was charged when it began to run.
func (h *places) beginClientWait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clientWaits++; h.clientWaits == 1 && h.runs {
		h.running.add(-1)
	}
}

// endClientWait is called when that wait is over.
func (h *places) endClientWait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clientWaits--; h.clientWaits == 0 && h.runs {
		h.running.add(1)
	}
}

// release gives back everything that the request holds.
func (h *places) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.payer != nil {
		h.budget.add(h.payer, -h.weight)
	}
	if h.host != nil {
		h.budget.add(h.host, -h.weight-answerBytes)
	}
	if h.runs && h.clientWaits == 0 {
		h.running.add(-1)
	}
	h.payer, h.host, h.runs = nil, nil, false
}

// start counts the request in t from now on.
func (h *places) start(t running) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running, h.runs = t, true
	if h.clientWaits > 0 {
		h.running.add(-1)
	}
}

// chargeAddress charges the client's address for the request while it is authenticated.
// If the address has no room, noRoom is set: then only a caller whose credential needs no
// waiting is admitted.
func (x *exchange) chargeAddress(r *http.Request) {
	f := &x.p.limit
	if f.most == 0 {
		return
	}
	h := x.places
	h.budget, h.weight = &f.waiting, weightOf(r)
	if x.long {
		h.budget = &f.streams
	}
	payer := h.budget.payerAt(stranger, r.RemoteAddr, x.account())
	if x.noRoom = !h.budget.take(payer, h.weight, strangersPart); !x.noRoom {
		h.payer = payer
	}
}

// account identifies what the caller requests, to tell payers apart.
func (x *exchange) account() string {
	switch {
	case x.localPath != "":
		return x.localPath
	case x.dest.ClusterPath != "":
		return x.dest.ClusterPath
	case x.dest.Target.Cluster != "":
		return x.dest.Target.Cluster
	}
	return x.dest.Pattern
}

// chargeCaller moves the charge from the address to the authenticated user, if there is
// one, and charges the mounted host, if the request goes to one. A non-nil Status (429)
// refuses the request.
func (x *exchange) chargeCaller() *metav1.Status {
	h := x.places
	if h.budget == nil {
		return nil
	}
	part := func(n int64) int64 {
		if x.long {
			return streamsPart
		}
		return n
	}
	if u := x.decision.User; u != nil {
		payer, ok := h.budget.payer(known, u.GetName(), x.account()), false
		if x.noRoom {
			ok = h.budget.take(payer, h.weight, part(usersPart))
		} else {
			ok = h.budget.move(h.payer, payer, h.weight, part(usersPart))
		}
		if !ok {
			return apistatus.TooManyRequests(x.payerName())
		}
		h.payer = payer
	} else if x.noRoom {
		return apistatus.TooManyRequests(x.payerName())
	}
	if x.dest.Kind == destination.MountedHost {
		last := x.dest.Mounts[len(x.dest.Mounts)-1]
		payer := h.budget.payer(mountee, x.dest.Base.Host, last.Path)
		if !h.budget.take(payer, h.weight+answerBytes, part(hostsPart)) {
			return apistatus.TooManyRequests("the mount of the workspace has")
		}
		h.host = payer
	}
	return nil
}

// startRunning takes a place among running requests, and memory for an answer that the
// client does not read: the client may stop reading at any time, when it is too late to
// refuse the request. A non-nil Status (429) refuses it now.
func (x *exchange) startRunning(r *http.Request) *metav1.Status {
	f, h := &x.p.limit, x.places
	if h.budget == nil || x.long || x.dest.Kind == destination.MountedHost || h.runs {
		return nil
	}
	if !x.chargeAnswer(r) {
		return apistatus.TooManyRequests(x.payerName())
	}
	var t running
	if status := x.takePlaces(f, &t); status != nil {
		t.add(-1)
		return status
	}
	h.start(t)
	return nil
}

// chargeAnswer charges the caller for an answer as well; false: there is no room. If the
// caller is not authenticated here, the charge moves to a second account of its address
// (delegated), so that requests that wait cannot take the room of those that run.
func (x *exchange) chargeAnswer(r *http.Request) bool {
	h, part := x.places, int64(usersPart)
	if x.decision.User == nil {
		part = hostsPart
		payer := h.budget.payerAt(delegated, r.RemoteAddr, x.account())
		if !h.budget.move(h.payer, payer, h.weight, part) {
			return false
		}
		h.payer = payer
	}
	if !h.budget.grow(h.payer, h.weight, answerBytes, part) {
		return false
	}
	h.weight += answerBytes
	return true
}

// payerName begins the message of a 429: whose limit it is.
func (x *exchange) payerName() string {
	if x.decision.User == nil {
		return "your address has, in this workspace,"
	}
	return "you have, in this workspace,"
}

func (x *exchange) takePlaces(f *inFlight, t *running) *metav1.Status {
	if t.all = place(&f.all, f.most); t.all == nil {
		return apistatus.TooManyRequests("the proxy has")
	}
	if cluster := x.dest.Target.Cluster; cluster != "" {
		if t.cluster = place(f.cluster(cluster), f.most/8); t.cluster == nil {
			return apistatus.TooManyRequests("the workspace has")
		}
	}
	to := x.dest.Shard
	if to == "" {
		to = x.dest.Pattern // which begins with a slash, and no shard's name does
	}
	if t.shard = place(f.shard(to), f.most/2); t.shard == nil {
		return apistatus.TooManyRequests(x.dest.Name() + " has")
	}
	return nil
}

// placedWriter writes the answer to the client. While a write waits for the client, the
// request does not count as running.
type placedWriter struct {
	http.ResponseWriter
	x *exchange
}

// Write implements http.ResponseWriter.
func (w *placedWriter) Write(b []byte) (int, error) {
	w.x.places.beginClientWait()
	defer w.x.places.endClientWait()
	return w.ResponseWriter.Write(b)
}

// FlushError is what http.ResponseController calls.
func (w *placedWriter) FlushError() error {
	w.x.places.beginClientWait()
	defer w.x.places.endClientWait()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// WriteHeader implements http.ResponseWriter. Informational answers are not passed on
// over HTTP/2: when a client resets its stream meanwhile, net/http returns before it
// has read the headers, which ReverseProxy then changes, and two that use a map at a
// time end the process.
func (w *placedWriter) WriteHeader(code int) {
	if code < http.StatusOK && code != http.StatusSwitchingProtocols && w.x.inbound.ProtoMajor == 2 {
		return
	}
	w.ResponseWriter.WriteHeader(code)
	if code >= http.StatusOK && w.x.upload.remains() {
		// Before it sends the headers, net/http reads what the client may still send.
		connection := http.NewResponseController(w.ResponseWriter)
		_ = connection.SetReadDeadline(time.Now().Add(w.x.upload.timeout)) // a writer that has none is a test's
		_ = w.FlushError()
		_ = connection.SetReadDeadline(time.Time{})
	}
}

// Hijack is what http.ResponseController calls for an upgrade: a tunnel's client
// may be as slow as it likes.
func (w *placedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		unpaced(conn)
	}
	return conn, buffered, err //nolint:wrapcheck // net/http's, for net/http
}

// Unwrap is for http.ResponseController.
func (w *placedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
