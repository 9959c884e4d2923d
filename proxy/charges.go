package proxy

import (
	"net/http"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"frontproxy/authn/identity"
	"frontproxy/proxy/apistatus"
	"frontproxy/proxy/destination"
)

// charges are what one request has taken of requestLimits: memory for itself, memory for its stream,
// and a place among running requests. The zero value holds nothing. The goroutine that serves the
// request calls chargeAddress, chargeStream, chargeCaller and startRunning, in this order. Any
// goroutine may call beginClientWait, endClientWait, releaseRequest and release, even after the
// request is over.
type charges struct {
	// target is what is asked for: a logical cluster, a mount, an entry of the mapping file or a
	// page of the proxy. Each target has accounts of its own, and group is the group they belong
	// to. address is the client's, and longRunning says that kube-apiserver would call the
	// request long-running. Only the goroutine that serves the request uses these.
	target, address string
	group           accountKey
	longRunning     bool
	// addressFull says that the account of the client's address was full, so that only a
	// caller whose credential can be checked without waiting is admitted.
	addressFull bool

	mu           sync.Mutex
	budget       *memoryBudget // nil: no bound
	weight       int64         // what caller pays; host pays answerBytes more
	caller, host payer
	stream       streamCharge
	places       places
	hasPlaces    bool // it counts in places, unless clientWaits > 0
	clientWaits  int  // how many goroutines wait for the client
}

// streamCharge is what is paid for a stream as long as it lasts; the zero value is nothing.
type streamCharge struct {
	budget *memoryBudget
	payer  payer
	weight int64
}

// chargedTarget returns the target of a request for localPath, or for d if localPath is empty, and
// the group of its accounts.
func chargedTarget(localPath string, d *destination.Destination) (target string, group accountKey) {
	switch {
	case localPath != "":
		target = localPath
	case d.Target.Cluster != "": // by its name: it has several paths
		target = d.Target.Cluster
	case d.Kind == destination.MountedHost:
		m := d.LastMount()
		return m.Path, accountKey{kind: mountsGroup, target: m.Parent}
	default:
		target = d.Pattern
	}
	return target, accountKey{kind: targetGroup, target: target}
}

// chargeAddress charges the client's address for the request while it is authenticated. If
// the address has no room, it sets addressFull. longRunning is charges.longRunning.
func (c *charges) chargeAddress(l *requestLimits, r *http.Request, localPath string, d *destination.Destination, longRunning bool) {
	if l.most == 0 {
		return
	}
	c.budget, c.weight = &l.requests, weightOf(r)
	if longRunning {
		c.budget = &l.streamStarts
	}
	c.target, c.group = chargedTarget(localPath, d)
	c.address, c.longRunning = r.RemoteAddr, longRunning
	from := c.budget.unauthenticated(c.address, c.target)
	if localPath != "" {
		from = c.budget.pageReader(c.address, localPath)
	}
	if c.addressFull = !c.budget.take(from, c.weight); !c.addressFull {
		c.caller = from
	}
}

// chargeCaller moves the charge from the address to the authenticated user or, where the
// backend authenticates, to the address at that backend. It charges the mounted host, if the
// request goes to one. A non-nil Status (429) refuses the request.
func (c *charges) chargeCaller(u user.Info, d *destination.Destination) *metav1.Status {
	if c.budget == nil {
		return nil
	}
	to := c.budget.backendWaiting(c.address, c.target, c.group)
	if u != nil {
		to = c.forStream(c.userOf(c.budget, u))
	}
	if !c.budget.move(c.caller, to, c.weight) {
		return apistatus.TooManyRequests(whoseLimit(u))
	}
	c.caller = to
	if d.Kind == destination.MountedHost {
		host := c.forStream(c.budget.host(d.Base.Host, d.LastMount()))
		if !c.budget.take(host, c.weight+answerBytes) {
			return apistatus.TooManyRequests("the mount of the workspace has")
		}
		c.host = host
	}
	return nil
}

// userOf returns the payer for a user. A service account belongs to the group of its own logical
// cluster: anybody with a workspace can make up any number of them, and they are authenticated
// everywhere.
func (c *charges) userOf(b *memoryBudget, u user.Info) payer {
	group, home := c.group, ""
	if of := u.GetExtra()[identity.ClusterNameKey]; len(of) > 0 {
		home = of[0]
		group = accountKey{kind: targetGroup, target: home}
	}
	return b.user(u.GetName(), home, c.target, group)
}

// forStream gives p the larger share that it has in the budget of requests for streams.
func (c *charges) forStream(p payer) payer {
	if c.longRunning {
		p.divisor = streamDivisor
	}
	return p
}

// chargeStream charges the caller for the stream that the request is for, until release. A
// non-nil Status (429) refuses it. u is the authenticated user; nil: there is none.
func (c *charges) chargeStream(l *requestLimits, u user.Info) *metav1.Status {
	if c.budget == nil {
		return nil
	}
	s := streamCharge{budget: &l.openStreams, weight: c.weight - requestBytes + streamBytes}
	if u == nil {
		s.payer = l.openStreams.backendRunning(c.address, c.target, c.group)
	} else {
		s.payer = c.userOf(&l.openStreams, u)
	}
	s.payer.divisor = streamDivisor
	if !l.openStreams.take(s.payer, s.weight) {
		return apistatus.TooManyStreams(whoseLimit(u))
	}
	c.stream = s
	return nil
}

// startRunning takes a place among running requests, and memory for an answer that the
// client does not read: the client may stop reading at any time, when it is too late to
// refuse the request. A non-nil Status (429) refuses it now. u is the authenticated user;
// nil: there is none.
func (c *charges) startRunning(l *requestLimits, u user.Info, d *destination.Destination) *metav1.Status {
	if c.budget == nil || c.longRunning || d.Kind == destination.MountedHost || c.hasPlaces {
		return nil
	}
	if !c.chargeAnswer(u) {
		return apistatus.TooManyRequests(whoseLimit(u))
	}
	p, status := l.takePlaces(d)
	if status != nil {
		p.add(-1)
		return status
	}
	c.holdPlaces(p)
	return nil
}

// chargeAnswer charges the caller for an answer as well; false: there is no room. If the
// caller is not authenticated here, the charge moves to a second account of its address
// (backendRunningAccount), so that requests that wait cannot take the room of those that run.
func (c *charges) chargeAnswer(u user.Info) bool {
	if u == nil {
		to := c.budget.backendRunning(c.address, c.target, c.group)
		if !c.budget.move(c.caller, to, c.weight) {
			return false
		}
		c.caller = to
	}
	if !c.budget.grow(c.caller, c.weight, answerBytes) {
		return false
	}
	c.weight += answerBytes
	return true
}

// holdPlaces counts the request in p from now on.
func (c *charges) holdPlaces(p places) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.places, c.hasPlaces = p, true
	if c.clientWaits > 0 {
		c.places.add(-1)
	}
}

// whoseLimit begins the message of a 429.
func whoseLimit(u user.Info) string {
	if u == nil {
		return "your address has"
	}
	return "you have, or all users who share this limit have,"
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
	c.releaseRequest()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := &c.stream; s.budget != nil {
		s.budget.add(s.payer, -s.weight)
	}
	c.stream = streamCharge{}
}

// releaseRequest gives back what the request holds, except what is charged for its stream. It is
// called when the stream begins.
func (c *charges) releaseRequest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caller.account != nil {
		c.budget.add(c.caller, -c.weight)
	}
	if c.host.account != nil {
		c.budget.add(c.host, -c.weight-answerBytes)
	}
	if c.hasPlaces && c.clientWaits == 0 {
		c.places.add(-1)
	}
	c.caller, c.host, c.hasPlaces = payer{}, payer{}, false
}
