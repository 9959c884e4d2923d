package proxy

import (
	"net/http"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
)

// charges are what one request holds of requestLimits: memory in a budget, a place among
// running requests, or nothing. The zero value holds nothing. chargeAddress, chargeCaller
// and startRunning are called in this order, by the handler; the other methods by several
// goroutines, also when the request is over.
type charges struct {
	// target is what is asked for: a logical cluster, an entry of the mapping file or a page of
	// the proxy. Each target has accounts of its own. address is the client's, and stream says
	// that the request is for a watch or another stream. The handler alone uses these.
	target, address string
	stream          bool
	// addressFull says that the account of the client's address was full, so that only a
	// caller whose credential can be checked without waiting is admitted.
	addressFull bool

	mu            sync.Mutex
	budget        *memoryBudget // nil: no bound
	weight        int64         // what account pays; host pays answerBytes more
	account, host *atomic.Int64
	places        places
	hasPlaces     bool // it counts in places, unless clientWaits > 0
	clientWaits   int  // how many goroutines wait for the client
}

// chargedTarget is what a request for localPath, or else for d, is charged for.
func chargedTarget(localPath string, d *destination.Destination) string {
	switch {
	case localPath != "":
		return localPath
	case d.ClusterPath != "":
		return d.ClusterPath
	case d.Target.Cluster != "":
		return d.Target.Cluster
	}
	return d.Pattern
}

// chargeAddress charges the client's address for the request while it is authenticated. If
// the address has no room, addressFull is set. stream: the request is for a watch or another
// stream.
func (c *charges) chargeAddress(l *requestLimits, r *http.Request, target string, stream bool) {
	if l.most == 0 {
		return
	}
	c.budget, c.weight = &l.waiting, weightOf(r)
	if stream {
		c.budget = &l.streams
	}
	c.target, c.address, c.stream = target, r.RemoteAddr, stream
	account := c.budget.accountAt(addressAccount, c.address, target)
	if c.addressFull = !c.budget.take(account, c.weight, addressPart); !c.addressFull {
		c.account = account
	}
}

// chargeCaller moves the charge from the address to the authenticated user, if there is
// one, and charges the mounted host, if the request goes to one. A non-nil Status (429)
// refuses the request.
func (c *charges) chargeCaller(u user.Info, d *destination.Destination) *metav1.Status {
	if c.budget == nil {
		return nil
	}
	part := func(n int64) int64 {
		if c.stream {
			return streamsPart
		}
		return n
	}
	if u != nil {
		account := c.budget.account(userAccount, u.GetName(), c.target)
		if !c.budget.move(c.account, account, c.weight, part(userPart)) {
			return apistatus.TooManyRequests(limited(u))
		}
		c.account = account
	} else if c.addressFull {
		return apistatus.TooManyRequests(limited(u))
	}
	if d.Kind == destination.MountedHost {
		last := d.Mounts[len(d.Mounts)-1]
		account := c.budget.account(hostAccount, d.Base.Host, last.Path)
		if !c.budget.take(account, c.weight+answerBytes, part(hostPart)) {
			return apistatus.TooManyRequests("the mount of the workspace has")
		}
		c.host = account
	}
	return nil
}

// startRunning takes a place among running requests, and memory for an answer that the
// client does not read: the client may stop reading at any time, when it is too late to
// refuse the request. A non-nil Status (429) refuses it now. u is the authenticated user;
// nil: there is none.
func (c *charges) startRunning(l *requestLimits, u user.Info, d *destination.Destination) *metav1.Status {
	if c.budget == nil || c.stream || d.Kind == destination.MountedHost || c.hasPlaces {
		return nil
	}
	if !c.chargeAnswer(u) {
		return apistatus.TooManyRequests(limited(u))
	}
	p, status := l.takePlaces(d)
	if status != nil {
		p.add(-1)
		return status
	}
	c.start(p)
	return nil
}

// chargeAnswer charges the caller for an answer as well; false: there is no room. If the
// caller is not authenticated here, the charge moves to a second account of its address
// (delegatedAccount), so that requests that wait cannot take the room of those that run.
func (c *charges) chargeAnswer(u user.Info) bool {
	part := int64(userPart)
	if u == nil {
		part = hostPart
		account := c.budget.accountAt(delegatedAccount, c.address, c.target)
		if !c.budget.move(c.account, account, c.weight, part) {
			return false
		}
		c.account = account
	}
	if !c.budget.grow(c.account, c.weight, answerBytes, part) {
		return false
	}
	c.weight += answerBytes
	return true
}

// start counts the request in p from now on.
func (c *charges) start(p places) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.places, c.hasPlaces = p, true
	if c.clientWaits > 0 {
		c.places.add(-1)
	}
}

// limited begins the message of a 429: whose limit it is.
func limited(u user.Info) string {
	if u == nil {
		return "your address has, in this workspace,"
	}
	return "you have, in this workspace,"
}

// beginClientWait is called before the proxy waits for the client. Meanwhile a running
// request does not count as running; its memory was charged when it began to run.
func (c *charges) beginClientWait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clientWaits++; c.clientWaits == 1 && c.hasPlaces {
		c.places.add(-1)
	}
}

// endClientWait is called when that wait is over.
func (c *charges) endClientWait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clientWaits--; c.clientWaits == 0 && c.hasPlaces {
		c.places.add(1)
	}
}

// release gives back everything that the request holds.
func (c *charges) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.account != nil {
		c.budget.add(c.account, -c.weight)
	}
	if c.host != nil {
		c.budget.add(c.host, -c.weight-answerBytes)
	}
	if c.hasPlaces && c.clientWaits == 0 {
		c.places.add(-1)
	}
	c.account, c.host, c.hasPlaces = nil, nil, false
}
