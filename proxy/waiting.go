package proxy

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync/atomic"

	"frontproxy/internal/egress"
	"frontproxy/proxy/upstream"
)

// A request has two stages. It *waits* during authentication, while its body arrives,
// while its client does not read, and while a mounted host handles it: then it costs
// memory but delays nobody. It *runs* while a shard or a mapped backend handles it.
// Only running requests count against Config.MaxInFlight (inflight.go). All requests
// have a separate memory budget, which nobody can use up alone. One that runs pays for
// its answer in advance, because it can't be refused when its client stops reading:
//
//   - a caller who is not authenticated yet pays as the pair of its address and the
//     logical cluster of the request;
//   - an authenticated caller pays as the user in that cluster;
//   - a caller that a mapped backend authenticates has a second account at its address
//     once its request runs;
//   - a request that waits for a mounted host also counts for the host, for the
//     workspace that mounts it.
//
// A payer may have a part of what is free, not of the total: the more the payers
// take, the smaller that part is, and the first request of another payer has room as
// long as there is any.
//
// A request that finds no room is still served if it need not wait: its caller has a
// certificate or a remembered token.
type waiting struct {
	limit  int64 // bytes; 0: no bound
	seed   maphash.Seed
	used   atomic.Int64
	payers [1 << 13]atomic.Int64 // by hash, as inFlight.clusters are
}

const (
	// waitingBytes is the budget, for each of Config.MaxInFlight; streamsBytes that of
	// requests that want a stream. So many may run, and each pay for an answer.
	waitingBytes = 128 << 10
	streamsBytes = 256 << 10
	// leastBytes is the least that a budget has.
	leastBytes = 4 << 20
	// requestBytes is what a request is taken to cost beside its headers and body:
	// stacks, buffers, the records of net/http. So the budget bounds their number.
	requestBytes = 16 << 10
	// answerBytes is what an answer may keep beside that while its client does not
	// read: what the upstream may send ahead over HTTP/2, and the buffer from which it
	// is copied.
	answerBytes = egress.StreamBuffer + 32<<10
)

// A payer's part of what is free, as a divisor.
const (
	strangersPart = 16
	usersPart     = 4
	hostsPart     = 2
	// streamsPart is that of users and hosts in the budget of requests that want a
	// stream: when streams are lost, their clients come back all at once.
	streamsPart = 2
)

// take takes weight bytes for a payer, who may have the part-th part of what is
// free; false: that is too much.
func (b *waiting) take(payer *atomic.Int64, weight, part int64) bool {
	return b.grow(payer, 0, weight, part)
}

// grow takes more bytes for a request for which payer pays weight already.
func (b *waiting) grow(payer *atomic.Int64, weight, more, part int64) bool {
	free := b.limit - b.used.Add(more)
	if n := payer.Add(more); n <= free/part || n == weight+more && free >= 0 {
		return true
	}
	b.add(payer, -more)
	return false
}

func (b *waiting) add(payer *atomic.Int64, weight int64) {
	payer.Add(weight)
	b.used.Add(weight)
}

// move has another payer pay for weight bytes that from has; false: it can't.
func (b *waiting) move(from, to *atomic.Int64, weight, part int64) bool {
	if n := to.Add(weight); n > weight && n > (b.limit-b.used.Load())/part {
		to.Add(-weight)
		return false
	}
	from.Add(-weight)
	return true
}

// Kinds of payers.
const (
	stranger  = '?'
	known     = 'u'
	delegated = 'p' // an address, for requests that run on a backend that authenticates by itself
	mountee   = 'm'
)

// payer is the account of who, in a logical cluster.
func (b *waiting) payer(kind byte, who, cluster string) *atomic.Int64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	_ = h.WriteByte(kind) // a Hash never fails
	_, _ = h.WriteString(cluster)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(who)
	return &b.payers[h.Sum64()%uint64(len(b.payers))]
}

// payerAt is the payer for a caller of which only the address is known. For IPv6 it is
// the /64, because a host usually controls all of it.
func (b *waiting) payerAt(kind byte, remote, cluster string) *atomic.Int64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	_ = h.WriteByte(kind)
	_, _ = h.WriteString(cluster)
	_ = h.WriteByte(0)
	if at, err := netip.ParseAddrPort(remote); err == nil {
		ip := at.Addr().Unmap().As16()
		if !at.Addr().Unmap().Is4() {
			clear(ip[8:])
		}
		_, _ = h.Write(ip[:])
	}
	return &b.payers[h.Sum64()%uint64(len(b.payers))]
}

// weightOf is what a request may keep in memory while it waits, in bytes.
func weightOf(r *http.Request) int64 {
	n := requestBytes + len(r.RequestURI)
	for key, values := range r.Header {
		for _, v := range values {
			n += len(key) + len(v)
		}
	}
	body := int64(maxBufferedBody)
	if r.ProtoMajor == 2 {
		body = upstream.StreamWindow // of which the client sends this much unasked
	}
	if r.ContentLength >= 0 {
		body = min(body, r.ContentLength)
	}
	return int64(n) + body
}
