package proxy

import (
	"errors"
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/klog/v2"
)

// The head of a request, its line and headers, may have maxHeaderBytes, and what has arrived of it
// takes net/http several times as much memory. A request is not charged for before its head is
// complete (memorybudget.go), and a stranger need not complete it. So unfinished heads are charged
// to the client's address, in a budget that all connections share. A connection for which there is
// no room is closed: there is no request yet that could be refused.
//
// Over HTTP/1.1, all bytes count that arrive while no request is under way: net/http's ConnState
// says when a head is complete. Over HTTP/2, other streams' bodies and control frames come in
// between, so the proxy looks at the frames (http2heads.go).
//
// Three things are charged for as long as the connection is open, because TLS and HTTP/2 keep them:
// a large handshake, such as one with large certificates, the buffer for the largest head over HTTP/2, and
// the longest queue of answers to pings and wrong frames (queuedcontrolframes.go).
const (
	// headsDivisor says which part of the process's memory unfinished heads may take.
	headsDivisor = 16
	// minHeadBudget and maxHeadBudget bound that part. The smallest process has room for three of the
	// largest heads, and no process spends more on heads than clients need. If the memory is
	// not known, maxHeadBudget holds.
	minHeadBudget = 16 << 20
	maxHeadBudget = 256 << 20

	// freeHead is how much of a head over HTTP/1.1 costs nothing, in bytes including TLS's: it is part
	// of what --max-connections assumes a connection to take.
	freeHead = 8 << 10
	// http1HeadCost is what each further byte is charged: the shortest possible lines take some
	// five times their text in memory.
	http1HeadCost = 5
	// smallHead is how large a head may become although there is no room for it, if it is complete
	// within smallHeadGrace. So ordinary requests are served even if attackers fill the budget.
	smallHead      = 64 << 10
	smallHeadGrace = time.Second

	// handshakeCost is what is charged, as long as the connection is open, for each byte beyond
	// freeHandshake that the client has sent in its TLS handshake. TLS's buffer and the parsed
	// certificates, whoever signed them, may take that much. A usual client sends some three KiB
	// and its certificates.
	handshakeCost = 12
	freeHandshake = 12 << 10
	// freeCertificates is how much memory the parts of the client's certificates may take that is not
	// charged (certs.SizeOfParts), in bytes. A usual client's take less.
	freeCertificates = 32 << 10
	// maxRecords is how many bytes of TLS may arrive without any HTTP in them, over HTTP/1.1 while a
	// request is under way. TLS's own messages may have 256 KiB, even after the handshake, and TLS
	// keeps what it has of one. A record has 16 KiB.
	maxRecords = 64 << 10
)

// heads is the budget of unfinished heads.
type heads struct {
	memoryBudget
	refused atomic.Int64
	lines   *rate.Limiter // of the log, about refused connections
	log     klog.Logger
}

func newHeads(memory int64, log klog.Logger) *heads {
	h := &heads{lines: rate.NewLimiter(rate.Every(time.Minute), 1), log: log}
	h.seed = maphash.MakeSeed()
	h.setMemory(memory)
	return h
}

// setMemory sets the limit from the process's memory, in bytes.
func (h *heads) setMemory(memory int64) {
	h.limit.Store(max(min(memory/headsDivisor, maxHeadBudget), minHeadBudget))
}

// refuse counts and logs a connection that is closed.
func (h *heads) refuse(client net.Addr) {
	h.refused.Add(1)
	if h.lines.Allow() {
		h.log.Info("Closing client connections with large, unfinished request headers, with large certificates, or with many HTTP/2 answers that the client does not read: the memory for these is used up. If this client is no attacker, raise the memory limit; otherwise keep it away from the proxy. At most one of these lines a minute",
			"client", client.String(), "bytes", h.limit.Load())
	}
}

// noRoomForHeadError is the error of reading from a connection for whose head there is no room.
type noRoomForHeadError struct{}

func (noRoomForHeadError) Error() string { return "no memory is left for unfinished request headers" }

// Timeout makes net/http close the connection without an answer; other errors it answers with 400. If
// a part of a header line was read before, it takes that for a malformed line, and answers 400 anyway.
func (noRoomForHeadError) Timeout() bool { return true }

// head is what one connection has of an unfinished head.
type head struct {
	// complete says that a request is under way over HTTP/1.1, or that the connection is HTTP/2: the
	// bytes that are read from the connection are then not counted as a head's.
	complete atomic.Bool
	// read counts bytes since the connection began, its handshake was charged or complete has changed.
	// While complete is set, it also starts again when TLS is asked for more of a body, a tunnel or
	// an HTTP/2 connection.
	read         atomic.Int64
	inBody       atomic.Bool // over HTTP/1.1, the body of the request under way has not ended
	needsRelease atomic.Bool // releaseHead has something to do

	mu      sync.Mutex // guards what follows
	payer   payer
	kept    int64       // charged as long as the connection is open
	charged int64       // in all
	wanted  int64       // bytes to be charged when grace ends
	grace   *time.Timer // runs while a small head has no room; else nil
	closed  bool
}

// readHead is Read, and charges what it reads if that is a head.
func (c *connection) readHead(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.head.complete.Load() {
		if c.head.read.Add(int64(n)) > maxRecords && n > 0 && !c.head.inBody.Load() { // without n, it is err that counts
			return 0, errors.New("TLS is sent a message that is no HTTP")
		}
		return n, err //nolint:wrapcheck // a net.Conn's
	}
	if read := c.head.read.Add(int64(n)); read > freeHead {
		if noRoom := c.chargeHead((read-freeHead)*http1HeadCost, read <= smallHead); noRoom != nil {
			return 0, noRoom
		}
	}
	return n, err //nolint:wrapcheck // a net.Conn's
}

// chargeHead raises the charge for the connection's head to bytes. It returns an error if there is
// no room; but a small head is given smallHeadGrace to become complete.
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

// growHead raises the charge to bytes plus kept; false: there is no room. The caller holds mu.
func (c *connection) growHead(bytes int64) bool {
	h := &c.head
	h.needsRelease.Store(true)
	if h.payer.account == nil {
		key := atAddress(headAccount, c.RemoteAddr().String(), "")
		h.payer = c.of.heads.payer(headDivisor, key, key)
	}
	if bytes += h.kept; bytes > h.charged {
		if !c.of.heads.grow(h.payer, h.charged, bytes-h.charged) {
			return false
		}
		h.charged = bytes
	}
	return true
}

// endGrace closes the connection if its head is unfinished and there is still no room for it.
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

// beginHead is called when the next bytes are a head's.
func (c *connection) beginHead() {
	c.head.inBody.Store(false)
	c.head.read.Store(0)
	c.head.complete.Store(false)
}

// endHead is called when the head is complete.
func (c *connection) endHead() {
	c.head.read.Store(0)
	c.head.complete.Store(true)
	c.releaseHead(false)
}

// lowerCharge gives back what is charged beyond bytes plus kept.
func (c *connection) lowerCharge(bytes int64) {
	h := &c.head
	h.mu.Lock()
	defer h.mu.Unlock()
	if bytes += h.kept; bytes < h.charged {
		c.of.heads.add(h.payer, bytes-h.charged)
		h.charged = bytes
	}
}

// chargeHandshake charges the connection for what TLS keeps of its handshake, in which the client has
// sent this many bytes and certificates whose parts take this much. Without room for that it
// closes the connection and returns an error.
func (c *connection) chargeHandshake(sent, parts int64) error {
	kept := max(sent-freeHandshake, 0)*handshakeCost + max(parts-freeCertificates, 0)
	if kept == 0 {
		return nil
	}
	h := &c.head
	h.mu.Lock()
	h.kept = kept
	fits := h.closed || c.growHead(0)
	if !fits {
		h.kept = 0
	}
	h.mu.Unlock()
	if fits {
		return nil
	}
	c.of.heads.refuse(c.RemoteAddr())
	_ = c.Close()
	return errors.New("no memory is left for the client's certificates")
}

// releaseHead gives back what is charged beyond kept; if closed, everything, and nothing is charged from
// then on.
func (c *connection) releaseHead(closed bool) {
	h := &c.head
	if !closed && !h.needsRelease.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if closed {
		h.kept, h.closed = 0, true
	}
	if h.charged > h.kept {
		c.of.heads.add(h.payer, h.kept-h.charged)
	}
	if h.grace != nil {
		h.grace.Stop()
	}
	h.charged, h.wanted, h.grace = h.kept, 0, nil
	h.needsRelease.Store(false)
}
