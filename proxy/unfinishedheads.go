package proxy

import (
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/klog/v2"
)

// The head of a request, its line and headers, may have maxHeaderBytes, and net/http keeps what
// has come of it in several times its size. Nobody is charged for that as a request before the
// head is complete (memorybudget.go), and a stranger need not complete it. So what is unfinished
// of heads is charged here, in a budget of all connections, to the client's address. A connection
// for which there is no room is closed: there is no request yet that could be refused.
//
// Over HTTP/1.1 all bytes of a connection count that come while no request is under way: with
// net/http's ConnState, the connection knows when a head is complete. Over HTTP/2, other streams'
// bodies and control frames come in between, so the frames are looked at (http2heads.go).
const (
	// headsDivisor is the part of the process's memory that unfinished heads may take, as a divisor.
	headsDivisor = 16
	// minHeadBudget and maxHeadBudget are bounds on that: room for a few of the largest heads in the
	// smallest process, and no more than strangers need. The latter holds, too, if the memory
	// is not known.
	minHeadBudget = 16 << 20
	maxHeadBudget = 256 << 20

	// freeHead is how much of a head over HTTP/1.1 costs nothing, in bytes with TLS's: what a
	// connection is taken to cost has room for it (--max-connections).
	freeHead = 8 << 10
	// http1HeadCost is what a byte beyond that is taken to cost: lines that are as short as can
	// be take some five times their text.
	http1HeadCost = 5
	// smallHead is how large a head may become when there is no room for it, if it is complete
	// within smallHeadGrace. So nobody gets ordinary requests refused.
	smallHead      = 64 << 10
	smallHeadGrace = time.Second
)

// heads is the memory that unfinished heads may take.
type heads struct {
	memoryBudget
	refused atomic.Int64
	lines   *rate.Limiter // of the log
	log     klog.Logger
}

func newHeads(memory int64, log klog.Logger) *heads {
	h := &heads{lines: rate.NewLimiter(rate.Every(time.Minute), 1), log: log}
	h.seed = maphash.MakeSeed()
	h.setMemory(memory)
	return h
}

// setMemory bounds the heads as the process's memory, in bytes, allows.
func (h *heads) setMemory(memory int64) {
	h.limit.Store(max(min(memory/headsDivisor, maxHeadBudget), minHeadBudget))
}

// refuse counts and logs a connection that is closed.
func (h *heads) refuse(client net.Addr) {
	h.refused.Add(1)
	if h.lines.Allow() {
		h.log.Info("Closing client connections with large, unfinished request headers: their memory is used up. If this client is no attacker, raise the memory limit; else keep it away from the proxy. At most one of these lines a minute",
			"client", client.String(), "bytes", h.limit.Load())
	}
}

// noRoomForHeadError is why a connection ends.
type noRoomForHeadError struct{}

func (noRoomForHeadError) Error() string { return "no memory is left for unfinished request headers" }

// Timeout is for net/http, which answers other errors with 400, as if the client were at fault.
func (noRoomForHeadError) Timeout() bool { return true }

// head is the unfinished head of one connection, or none.
type head struct {
	// complete says that a request is under way over HTTP/1.1, or that the connection is HTTP/2:
	// what the connection reads is no head.
	complete     atomic.Bool
	read         atomic.Int64 // bytes since then
	needsRelease atomic.Bool  // there is something to give back

	mu      sync.Mutex // guards what follows
	payer   payer
	charged int64
	wanted  int64       // what should be charged when grace fires
	grace   *time.Timer // nil: there is room
	closed  bool
}

// Read implements net.Conn.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.head.complete.Load() {
		return n, err //nolint:wrapcheck // a net.Conn's
	}
	if read := c.head.read.Add(int64(n)); read > freeHead {
		if noRoom := c.chargeHead((read-freeHead)*http1HeadCost, read <= smallHead); noRoom != nil {
			return 0, noRoom
		}
	}
	return n, err //nolint:wrapcheck // a net.Conn's
}

// chargeHead charges the client's address bytes for the connection's head, in all. If there is no
// room, that is an error; but one that is small may have smallHeadGrace to be complete.
func (c *connection) chargeHead(bytes int64, small bool) error {
	h := &c.head
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || c.growHead(bytes) {
		return nil
	}
	if !small {
		c.of.heads.refuse(c.RemoteAddr())
		return &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: noRoomForHeadError{}}
	}
	h.wanted = bytes
	if h.grace == nil {
		h.grace = time.AfterFunc(smallHeadGrace, c.endGrace)
	}
	return nil
}

// growHead charges bytes, in all; false: there is no room. The caller holds mu.
func (c *connection) growHead(bytes int64) bool {
	h := &c.head
	h.needsRelease.Store(true)
	if h.payer.account == nil {
		key := atAddress(headAccount, c.RemoteAddr().String(), "")
		h.payer = c.of.heads.payer(headDivisor, key, key)
	}
	if bytes > h.charged {
		if !c.of.heads.grow(h.payer, h.charged, bytes-h.charged) {
			return false
		}
		h.charged = bytes
	}
	return true
}

// endGrace closes the connection if there is still no room for its head.
func (c *connection) endGrace() {
	h := &c.head
	h.mu.Lock()
	late := h.grace != nil && !h.closed
	h.grace = nil
	if late && c.growHead(h.wanted) {
		late = false
	}
	h.mu.Unlock()
	if late {
		c.of.heads.refuse(c.RemoteAddr())
		_ = c.Close()
	}
}

// beginHead is called when what comes next is a head.
func (c *connection) beginHead() {
	c.head.read.Store(0)
	c.head.complete.Store(false)
}

// endHead is called when the head is complete.
func (c *connection) endHead() {
	c.head.complete.Store(true)
	c.releaseHead(false)
}

// releaseHead gives back what the head holds. closed: the connection holds nothing from now on.
func (c *connection) releaseHead(closed bool) {
	h := &c.head
	if !closed && !h.needsRelease.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.charged > 0 {
		c.of.heads.add(h.payer, -h.charged)
	}
	if h.grace != nil {
		h.grace.Stop()
	}
	h.charged, h.wanted, h.grace, h.closed = 0, 0, nil, h.closed || closed
	h.needsRelease.Store(false)
}
