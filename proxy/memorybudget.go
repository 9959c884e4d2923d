package proxy

import (
	"hash/maphash"
	"math"
	"net/http"
	"net/netip"
	"sync/atomic"

	"frontproxy/internal/clientaddr"
	"frontproxy/internal/egress"
	"frontproxy/proxy/destination"
	"frontproxy/proxy/metrics"
)

// memoryBudget bounds the memory of requests or of open streams, and how much of it one account may
// use. requestLimits has three. That of unfinished request heads is another (unfinishedheads.go).
//
// A request has two stages. It *waits* during authentication, while its body arrives,
// while its client does not read, and while a mounted host handles it: then it costs
// memory but delays nobody. It *runs* while a shard or a mapped backend handles it.
// Only running requests count against Config.MaxInFlight (requestlimits.go). Every request
// that is authenticated or forwarded is charged for memory. One that runs is charged for its
// answer in advance, because it can't be refused when its client stops reading.
//
// No account can use up the budget. The accounts are:
//
//   - for a caller who is not authenticated yet, the pair of its address and the target of the
//     request, such as a logical cluster;
//   - for an authenticated caller, the user at that target;
//   - for a caller whom a mapped backend authenticates, its address at that backend, which has
//     a second account there for requests that run;
//   - for a request to a mounted host, also the pair of that host and the mount.
//
// Whoever can make up users, or has many addresses, has many accounts. So each account belongs
// to a group, and the accounts of a group together may use as much as remains free:
// half of the budget, if no other group uses any. The groups are:
//
//   - the callers at a logical cluster, at an entry of the mapping file or at a page of the proxy's
//     own, once they are authenticated or left to a backend. At a page, callers who are not
//     authenticated yet belong to it, too, so that strangers at workspaces don't keep a monitor
//     from reading the page;
//   - the users of all the mounts in a logical cluster, and the hosts of these mounts;
//   - the service accounts of a logical cluster, wherever they are used: they are in the group of
//     its users, because other clusters can't keep them out;
//   - an address, for callers elsewhere who are not authenticated yet. All of these groups
//     together are one more group, so that they leave room to authenticated callers.
//
// The headroom of a group is what is free, less what the group and the one around it have. An
// account may have a part of its group's headroom, not of the budget: the more the accounts of the
// group take, the smaller that part is. The first request of an account has room as long as its
// group has any.
//
// A request whose address has no room is still served if its caller can be authenticated
// without waiting, by a certificate or a token that was verified before.
type memoryBudget struct {
	limit    atomic.Int64 // bytes; may change at any time
	seed     maphash.Seed
	used     atomic.Int64
	accounts [1 << 13]atomic.Int64 // by hash, as requestLimits.clusters are
	// groups have counters of their own: an account that shared one with a busy group would have no room.
	groups [1 << 12]atomic.Int64
}

// payer is who is charged for a request. The zero payer is nobody.
type payer struct {
	account, group *atomic.Int64
	// parent is the group of groups that group belongs to; nil: it belongs to none.
	parent  *atomic.Int64
	divisor int64 // account may have 1/divisor of its group's headroom
}

const (
	// The budget of requests is Config.MaxInFlight × budgetPerRequest, enough for that many that are
	// charged for their answers; that of requests for streams is MaxInFlight × budgetPerStreamStart; each is
	// less if there is less memory.
	budgetPerRequest     = 128 << 10
	budgetPerStreamStart = 256 << 10
	// The budgets are at most these parts, as divisors, of the memory that the process may use;
	// unfinished heads have another (headsDivisor). Tables, caches and idle connections are
	// charged to nobody; docs/scale.md says how to leave room for them.
	requestsDivisor     = 4
	streamStartsDivisor = 8
	openStreamsDivisor  = 2
	// minBudget is the smallest that a budget can be, in bytes.
	minBudget = 4 << 20
	// requestBytes is an estimate of the memory of a request without its headers and body:
	// stacks, buffers, net/http's records. So the budget also bounds the number of requests.
	requestBytes = 16 << 10
	// streamBytes is an estimate of the memory of a stream without its request: about what an idle
	// watch over HTTP/2 takes (docs/performance.md). Over HTTP/1.1 it also has a connection of its own.
	streamBytes = 32 << 10
	// answerBytes is the memory that an answer may hold in addition while its client does
	// not read: what the upstream may send ahead over HTTP/2, and the copy buffer.
	answerBytes = egress.StreamBuffer + 32<<10
)

// What an account may have of its group's headroom, as a divisor. An account that is alone has
// 1/(divisor + 2) of the budget: a user has a fifth. If its group is in another group, it has
// 1/(divisor + 3): an address at one workspace has an 18th.
const (
	addressDivisor = 15
	userDivisor    = 3
	hostDivisor    = 1
	headDivisor    = 1
	// streamDivisor is that of users and hosts in the budgets of streams. Their share is larger
	// there, because clients that have lost their streams all come back at once.
	streamDivisor = 1
)

// take charges a payer weight bytes; false: there is no room.
func (b *memoryBudget) take(p payer, weight int64) bool { return b.grow(p, 0, weight) }

// grow charges more bytes for a request for which the payer has been charged weight bytes;
// false: there is no room.
func (b *memoryBudget) grow(p payer, weight, more int64) bool {
	free := b.limit.Load() - b.used.Add(more)
	if p.add(more, weight+more, free) {
		return true
	}
	b.add(p, -more)
	return false
}

// add adds bytes to the account and its groups, and reports whether each stays within its share of
// what is free. own is the request's own charge after this call: if an account has nothing else, it only
// needs room in its group, and if a group has nothing else, it only needs room in the budget.
func (p *payer) add(bytes, own, free int64) (fits bool) {
	fits = true
	for _, group := range [...]*atomic.Int64{p.parent, p.group} {
		if group == nil {
			continue
		}
		n := group.Add(bytes)
		fits = fits && (n <= free || n == own && free >= 0)
		free -= n
	}
	n := p.account.Add(bytes)
	return fits && (n <= free/p.divisor || n == own)
}

func (b *memoryBudget) add(p payer, weight int64) {
	p.add(weight, 0, 0)
	b.used.Add(weight)
}

// move moves a charge of weight bytes from one payer to another; false: the payer to has no room.
// If from is the zero payer, move is take.
func (b *memoryBudget) move(from, to payer, weight int64) bool {
	if from.account == nil {
		return b.take(to, weight)
	}
	free := max(b.limit.Load()-b.used.Load(), 0) // the charge has been taken before: it fits
	if to.add(weight, weight, free) {
		from.add(-weight, 0, 0)
		return true
	}
	to.add(-weight, 0, 0)
	return false
}

// state is what metrics report of the budget.
func (b *memoryBudget) state() metrics.MemoryBudget {
	limit := b.limit.Load()
	if limit >= math.MaxInt64/openStreamsDivisor { // the memory is not known
		limit = 0
	}
	return metrics.MemoryBudget{Charged: b.used.Load(), Limit: limit}
}

// accountKey is what tells accounts and groups apart.
type accountKey struct {
	kind              accountKind
	who, home, target string // home is the logical cluster of who, if it is a service account
	network           netip.Prefix
}

type accountKind byte

const (
	addressAccount        accountKind = iota // the address of a caller that is not authenticated yet, for a target
	addressGroup                             // an address, for all targets other than pages of the proxy's own
	unauthenticatedGroup                     // all addressGroups together
	userAccount                              // a user, for a target
	backendWaitingAccount                    // an address, for requests that will run on a backend that authenticates by itself
	backendRunningAccount                    // an address, for requests that run there
	targetGroup                              // callers at one target other than a mount; those who are not authenticated yet only if it is a page
	mountsGroup                              // callers at all mounts in a logical cluster
	hostAccount                              // a mounted host, for a mount
	hostsGroup                               // the hosts of all mounts in a logical cluster
	headAccount                              // an address, for unfinished heads of requests; it is its own group
)

// unauthenticated pays for requests to a workspace or a mapping until their callers are
// authenticated. remote is the client's address, as in http.Request.RemoteAddr.
func (b *memoryBudget) unauthenticated(remote, target string) payer {
	p := b.payer(addressDivisor, atAddress(addressAccount, remote, target), atAddress(addressGroup, remote, ""))
	p.parent = b.group(accountKey{kind: unauthenticatedGroup})
	return p
}

// pageReader is like unauthenticated, for a page of the proxy's own, which is a group by itself.
func (b *memoryBudget) pageReader(remote, page string) payer {
	return b.payer(addressDivisor, atAddress(addressAccount, remote, page), accountKey{kind: targetGroup, target: page})
}

// user pays for a user's requests for a target. home is the logical cluster of a service account;
// empty for other users.
func (b *memoryBudget) user(name, home, target string, group accountKey) payer {
	return b.payer(userDivisor, accountKey{kind: userAccount, who: name, home: home, target: target}, group)
}

// backendWaiting pays for requests to a backend that authenticates the caller itself until they run.
func (b *memoryBudget) backendWaiting(remote, target string, group accountKey) payer {
	return b.payer(addressDivisor, atAddress(backendWaitingAccount, remote, target), group)
}

// backendRunning pays for requests that run at a backend that authenticates the caller itself.
func (b *memoryBudget) backendRunning(remote, target string, group accountKey) payer {
	return b.payer(hostDivisor, atAddress(backendRunningAccount, remote, target), group)
}

// host pays for requests to a mounted host; it has an account for each mount.
func (b *memoryBudget) host(host string, m *destination.Mount) payer {
	return b.payer(hostDivisor, accountKey{kind: hostAccount, who: host, target: m.Path}, accountKey{kind: hostsGroup, target: m.Parent})
}

func (b *memoryBudget) payer(divisor int64, account, group accountKey) payer {
	return payer{
		account: &b.accounts[maphash.Comparable(b.seed, account)%uint64(len(b.accounts))],
		group:   b.group(group),
		divisor: divisor,
	}
}

func (b *memoryBudget) group(key accountKey) *atomic.Int64 {
	return &b.groups[maphash.Comparable(b.seed, key)%uint64(len(b.groups))]
}

// atAddress is the account of a caller known only by address. An IPv6 address
// counts as its /64, because a host usually controls all of it.
func atAddress(kind accountKind, remote, target string) accountKey {
	key := accountKey{kind: kind, target: target}
	if network, ok := clientaddr.Of(remote); ok {
		key.network = network
	}
	return key
}

// weightOf is how much memory a request may hold while it waits, in bytes: requestBytes, and what
// its line, headers and body may take.
func weightOf(r *http.Request) int64 {
	body := int64(maxBufferedBody)
	if r.ProtoMajor == 2 {
		body = uploadWindow // what the client may send unasked
	}
	if r.ContentLength >= 0 {
		body = min(body, r.ContentLength)
	}
	n := requestBytes + int64(len(r.RequestURI))
	for key, values := range r.Header {
		for _, v := range values {
			n += int64(len(key) + len(v) + headerOverhead)
		}
	}
	return n + body
}
