package proxy

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync/atomic"

	"frontproxy/internal/clientaddr"
	"frontproxy/internal/egress"
)

// memoryBudget bounds the memory of requests, and how much of it one account may use.
//
// A request has two stages. It *waits* during authentication, while its body arrives,
// while its client does not read, and while a mounted host handles it: then it costs
// memory but delays nobody. It *runs* while a shard or a mapped backend handles it.
// Only running requests count against Config.MaxInFlight (requestlimits.go). Every request
// is charged for memory, and no account can use it all. One that runs pays for its answer
// in advance, because it can't be refused when its client stops reading:
//
//   - a caller who is not authenticated yet pays as the pair of its address and the
//     logical cluster of the request;
//   - an authenticated caller pays as the user in that cluster;
//   - a caller that a mapped backend authenticates has a second account at its address
//     once its request runs;
//   - a request that waits for a mounted host also counts for the host, for the
//     workspace that mounts it.
//
// An account may have a part of what is free, not of the total: the more the accounts
// take, the smaller that part is, and the first request of another account has room as
// long as there is any.
//
// A request whose address has no room is still served if its caller can be authenticated
// without waiting, by a certificate or a token that was verified before.
type memoryBudget struct {
	limit    int64 // bytes; 0: no bound
	seed     maphash.Seed
	used     atomic.Int64
	accounts [1 << 13]atomic.Int64 // by hash, as requestLimits.clusters are
}

const (
	// Config.MaxInFlight times waitingBytes is the budget of requests, and times streamsBytes
	// the budget of requests for streams: enough for MaxInFlight requests that run and have
	// paid for their answers.
	waitingBytes = 128 << 10
	streamsBytes = 256 << 10
	// leastBytes is the size of the smallest budget.
	leastBytes = 4 << 20
	// requestBytes is an estimate of the memory of a request without its headers and body:
	// stacks, buffers, net/http's records. So the budget bounds the number of requests too.
	requestBytes = 16 << 10
	// answerBytes is the memory that an answer may hold in addition while its client does
	// not read: what the upstream may send ahead over HTTP/2, and the copy buffer.
	answerBytes = egress.StreamBuffer + 32<<10
)

// The part of the free bytes that an account may have, as a divisor.
const (
	addressPart = 16
	userPart    = 4
	hostPart    = 2
	// streamsPart is the part of users and hosts in the budget of requests for streams. It
	// is larger, because clients that have lost their streams all come back at once.
	streamsPart = 2
)

// take charges an account weight bytes; false: the account would have more than 1/part of the
// free bytes.
func (b *memoryBudget) take(account *atomic.Int64, weight, part int64) bool {
	return b.grow(account, 0, weight, part)
}

// grow charges more bytes for a request for which account has been charged weight bytes.
func (b *memoryBudget) grow(account *atomic.Int64, weight, more, part int64) bool {
	free := b.limit - b.used.Add(more)
	if n := account.Add(more); n <= free/part || n == weight+more && free >= 0 {
		return true
	}
	b.add(account, -more)
	return false
}

func (b *memoryBudget) add(account *atomic.Int64, weight int64) {
	account.Add(weight)
	b.used.Add(weight)
}

// move moves a charge of weight bytes from one account to another; false: to has no room. If
// from is nil, it takes them.
func (b *memoryBudget) move(from, to *atomic.Int64, weight, part int64) bool {
	if from == nil {
		return b.take(to, weight, part)
	}
	if n := to.Add(weight); n > weight && n > (b.limit-b.used.Load())/part {
		to.Add(-weight)
		return false
	}
	from.Add(-weight)
	return true
}

// Kinds of accounts.
const (
	addressAccount   = '?' // the address of a caller that is not authenticated yet
	userAccount      = 'u'
	delegatedAccount = 'p' // an address, for requests that run on a backend that authenticates by itself
	hostAccount      = 'm' // a mounted host
)

// account is the account of a user or host for a target (charges.target).
func (b *memoryBudget) account(kind byte, who, target string) *atomic.Int64 {
	return b.at(accountKey{kind: kind, who: who, target: target})
}

// accountAt is the account of a caller known only by address. An IPv6 address
// counts as its /64, because a host usually controls all of it.
func (b *memoryBudget) accountAt(kind byte, remote, target string) *atomic.Int64 {
	key := accountKey{kind: kind, target: target}
	if network, ok := clientaddr.Of(remote); ok {
		key.network = network
	}
	return b.at(key)
}

// accountKey is what tells accounts apart.
type accountKey struct {
	kind        byte
	who, target string
	network     netip.Prefix
}

func (b *memoryBudget) at(key accountKey) *atomic.Int64 {
	return &b.accounts[maphash.Comparable(b.seed, key)%uint64(len(b.accounts))]
}

// weightOf is how much memory a request may hold while it waits, in bytes.
func weightOf(r *http.Request) int64 {
	n := requestBytes + len(r.RequestURI)
	for key, values := range r.Header {
		for _, v := range values {
			n += len(key) + len(v)
		}
	}
	body := int64(maxBufferedBody)
	if r.ProtoMajor == 2 {
		body = uploadWindow // what the client may send unasked
	}
	if r.ContentLength >= 0 {
		body = min(body, r.ContentLength)
	}
	return int64(n) + body
}
