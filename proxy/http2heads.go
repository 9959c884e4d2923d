package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// http2Fields is how many bytes of a head over HTTP/2 may each stand for a field (HPACK):
	// then the head has as many fields as net/http reads. fieldCost is the memory of such a field.
	http2Fields = 32 << 10
	fieldCost   = 64
	// http2HeadCost is what each byte of a head costs besides.
	http2HeadCost = 3

	http2Preface   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	prefaceTimeout = 10 * time.Second // net/http's
)

// chargeHTTP2Heads has the server charge its HTTP/2 connections for their unfinished heads. These
// can't be told from bodies in what is read below TLS, and 32 KiB of them may cost 2 MiB. net/http
// serves HTTP/2 on any net.Conn that is handed over as it hands over unencrypted ones itself,
// and as golang.org/x/net/http2 relies on. If that should change, HTTP/2 is served without charges,
// and TestUnfinishedHeads fails.
func chargeHTTP2Heads(s *http.Server) {
	_ = s.Serve(closedListener{}) // sets TLSNextProto; ServeTLS returns the error, if that is not possible
	serve, plain := s.TLSNextProto["h2"], s.TLSNextProto["unencrypted_http2"]
	if serve == nil || plain == nil {
		return
	}
	s.TLSNextProto["h2"] = func(s *http.Server, conn *tls.Conn, h http.Handler) {
		c := connectionOf(conn)
		if c == nil {
			serve(s, conn, h)
			return
		}
		c.endHead() // the handshake
		if readPreface(conn) == nil {
			plain(s, tls.Client(netConnInTLSConn{conn, &http2Conn{Conn: conn, below: c}}, nil), h)
		}
	}
}

// readPreface reads what an HTTP/2 connection begins with.
func readPreface(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(prefaceTimeout)); err != nil {
		return err //nolint:wrapcheck // nobody reads it
	}
	preface := make([]byte, len(http2Preface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return err //nolint:wrapcheck // nobody reads it
	}
	if string(preface) != http2Preface {
		return errors.New("no HTTP/2")
	}
	return conn.SetReadDeadline(time.Time{}) //nolint:wrapcheck // nobody reads it
}

// closedListener is a listener that has ended.
type closedListener struct{ net.Listener }

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }

// netConnInTLSConn is the form in which net/http takes over a connection.
type netConnInTLSConn struct {
	net.Conn
	conn net.Conn
}

// UnencryptedNetConn is what net/http calls.
func (h netConnInTLSConn) UnencryptedNetConn() net.Conn { return h.conn }

// http2Conn is an HTTP/2 connection above TLS.
type http2Conn struct {
	*tls.Conn
	below *connection
	block headerBlock
}

// Read implements net.Conn.
func (c *http2Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	before := c.block.unfinished
	c.block.follow(b[:n])
	switch now := c.block.unfinished; now {
	case before:
	case 0:
		c.below.releaseHead(false)
	default:
		if noRoom := c.below.chargeHead(min(now, http2Fields)*fieldCost+now*http2HeadCost, false); noRoom != nil {
			return 0, noRoom
		}
	}
	return n, err //nolint:wrapcheck // a net.Conn's
}

// headerBlock follows the frames of an HTTP/2 connection (RFC 9113, sections 4.1, 6.2 and 6.10),
// whatever these are. Frames of other streams never come within a header block.
type headerBlock struct {
	header      [9]byte
	headerRead  int // bytes of header
	payloadLeft int // bytes that are missing of the frame
	inBlock     bool
	endsBlock   bool  // with this frame
	size        int64 // of the block so far
	hasFrame    bool  // a frame of it has ended

	// unfinished is the size of a block of which a frame has ended, so that its fields are in
	// memory, and others are missing.
	unfinished int64
}

const (
	headersFrame      = 0x1
	continuationFrame = 0x9
	endHeaders        = 0x4
)

func (h *headerBlock) follow(b []byte) {
	for len(b) > 0 {
		if h.payloadLeft == 0 {
			n := copy(h.header[h.headerRead:], b)
			h.headerRead += n
			b = b[n:]
			if h.headerRead < len(h.header) {
				return
			}
			h.begin()
		}
		n := min(h.payloadLeft, len(b))
		h.payloadLeft -= n
		b = b[n:]
		if h.inBlock {
			h.size += int64(n)
		}
		if h.payloadLeft == 0 && h.inBlock {
			h.end()
		}
		if h.hasFrame {
			h.unfinished = h.size
		}
	}
}

// begin is called when a frame's header is complete.
func (h *headerBlock) begin() {
	h.headerRead = 0
	h.payloadLeft = int(h.header[0])<<16 | int(h.header[1])<<8 | int(h.header[2])
	kind, flags := h.header[3], h.header[4]
	h.inBlock = kind == headersFrame || kind == continuationFrame
	h.endsBlock = flags&endHeaders != 0
}

// end is called when a frame of a block has ended.
func (h *headerBlock) end() {
	h.hasFrame = !h.endsBlock
	if h.endsBlock {
		h.size, h.unfinished = 0, 0
	}
}
