package ratelimit

import (
	"hash/maphash"
	"time"

	"frontproxy/internal/clientaddr"
)

// Kind says what a bucket is for.
type Kind uint8

// The kinds of buckets.
const (
	// Workspace is a logical cluster's, with all its users.
	Workspace Kind = iota
	// Identity is one user's in one workspace.
	Identity
	// Address is one client address', before anybody is authenticated.
	Address
	Kinds // how many there are
)

// String is the kind as metrics and logs have it.
func (k Kind) String() string {
	return [Kinds]string{"workspace", "identity", "address"}[k]
}

// Rate is how many requests a bucket lets pass. The zero Rate is no limit.
type Rate struct {
	// PerSecond is how many pass on average; 0: all do.
	PerSecond float64
	// Burst is how many pass at once, after a pause; at least 1 if PerSecond is not 0.
	Burst int
}

// What the program's flags default to. Addresses have no rate by default. They are per instance;
// docs/operations.md says why they are what they are, and TestStartingInformersMeetNoLimit that no client's
// start meets them.
var (
	DefaultWorkspace    = Rate{PerSecond: 1000, Burst: 10_000}
	DefaultIdentity     = Rate{PerSecond: 400, Burst: 4000}
	DefaultAddressBurst = 4000
)

// Config is what a Limiter is made of.
type Config struct {
	Workspace, Identity, Address Rate
	// Now is the clock, which must not go back; nil means time.Now.
	Now func() time.Time
}

// Limiter says which requests come too fast. Safe for concurrent use.
type Limiter struct {
	workspaces, identities, addresses *buckets // nil: no limit
	seed                              maphash.Seed
	now                               func() time.Time
	started                           time.Time
}

// New does no I/O and starts nothing.
func New(c Config) *Limiter {
	now := c.Now
	if now == nil {
		now = time.Now
	}
	return &Limiter{
		workspaces: newBuckets(c.Workspace, maxWorkspaces), identities: newBuckets(c.Identity, maxIdentities), addresses: newBuckets(c.Address, maxAddresses),
		seed: maphash.MakeSeed(), now: now, started: now(),
	}
}

// Request is what is known of a request once it is authenticated.
type Request struct {
	// Target is what it is for: the name of a logical cluster, or the path of a mount, of an entry of
	// the mapping file or of a page of the proxy's own. Each user has a bucket for each target.
	Target string
	// Workspace says that Target is a workspace, so that it has a bucket for all its users.
	Workspace bool
	// User is the caller's name; Home is the logical cluster of a service account, and empty for
	// other users. If User is empty, nobody has authenticated the caller yet: all such callers
	// share a bucket of the workspace, from which others do not draw, and have no other. The
	// service accounts of a Home that is not Target share a bucket of it, too.
	User, Home string
}

// Refusal says why a request came too fast.
type Refusal struct {
	Kind Kind
	// RetryAfter is after how long there will be a token; more than 0.
	RetryAfter time.Duration
	// Report says that no Refusal of the same bucket has had Report in the last minute.
	Report bool
}

// reportEvery is how often a Refusal of one bucket has Report, at most.
const reportEvery = time.Minute

// Address takes a token for a request from an address, as in http.Request.RemoteAddr. True:
// there was none. Addresses that cannot be read share a bucket.
func (l *Limiter) Address(remote string) (Refusal, bool) {
	if l.addresses == nil {
		return Refusal{}, false
	}
	network, _ := clientaddr.Of(remote)
	key := maphash.Comparable(l.seed, network)
	p := l.addresses.lock(key)
	defer p.mu.Unlock()
	now := l.now() // while the part is locked: a rate.Limiter whose clock goes back gives tokens twice
	b := l.addresses.bucket(p, key)
	if wait := l.addresses.wait(b, now); wait > 0 {
		return l.refuse(Address, p, key, b, wait, now), true
	}
	b.tokens.AllowN(now, 1)
	return Refusal{}, false
}

// Caller takes a token for an authenticated request from its workspace's and its user's
// bucket, or from neither. True: one of them had none.
func (l *Limiter) Caller(r *Request) (Refusal, bool) {
	var workspace, user uint64
	var inWorkspace, inUser *part
	// All that is locked is locked before the clock is read, and in this order.
	if l.workspaces != nil && r.Workspace {
		workspace = l.workspaceKey(r)
		inWorkspace = l.workspaces.lock(workspace)
		defer inWorkspace.mu.Unlock()
	}
	if l.identities != nil && r.User != "" {
		user = l.key(r.Target, r.Home, r.User)
		inUser = l.identities.lock(user)
		defer inUser.mu.Unlock()
	}
	if inWorkspace == nil && inUser == nil {
		return Refusal{}, false
	}
	now := l.now()
	var all, own bucket
	if inWorkspace != nil {
		all = l.workspaces.bucket(inWorkspace, workspace)
		if wait := l.workspaces.wait(all, now); wait > 0 {
			if inUser != nil {
				if known, ok := inUser.lru.Peek(user); ok { // a user who is refused here needs no bucket
					wait = max(wait, l.identities.wait(known, now))
				}
			}
			return l.refuse(Workspace, inWorkspace, workspace, all, wait, now), true
		}
	}
	if inUser != nil {
		own = l.identities.bucket(inUser, user)
		if wait := l.identities.wait(own, now); wait > 0 {
			return l.refuse(Identity, inUser, user, own, wait, now), true
		}
		own.tokens.AllowN(now, 1)
	}
	if inWorkspace != nil {
		all.tokens.AllowN(now, 1)
	}
	return Refusal{}, false
}

// refuse makes the Refusal by bucket b, which the part has under the key.
func (l *Limiter) refuse(kind Kind, p *part, key uint64, b bucket, wait time.Duration, now time.Time) Refusal {
	since := now.Sub(l.started) + 1 // never 0
	r := Refusal{Kind: kind, RetryAfter: wait, Report: b.reported == 0 || since-b.reported >= reportEvery}
	if r.Report {
		b.reported = since
		p.lru.Add(key, b)
	}
	return r
}

// workspaceKey is the key of the bucket of Target from which the caller draws. Accounts of
// another workspace have a bucket of their own there: anybody with a workspace can make up enough
// accounts to empty a bucket, and nobody in Target has to let them in.
func (l *Limiter) workspaceKey(r *Request) uint64 {
	switch {
	case r.User == "":
		return l.key(r.Target, "", "")
	case r.Home != "" && r.Home != r.Target:
		return l.key(r.Target, "accounts", r.Home)
	}
	return l.key(r.Target, "users", "")
}

// key stands for the three names, whatever their length. Two keys are equal with a chance of
// 1 in 2⁶⁴, and nobody outside knows which.
func (l *Limiter) key(a, b, c string) uint64 {
	return maphash.Comparable(l.seed, [3]string{a, b, c})
}
