package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"frontproxy/internal/http2conn"
)

const (
	// http2Fields is how many bytes of a head over HTTP/2 may each stand for a field, as HPACK allows:
	// net/http reads no more fields than that. fieldCost is what each of them is charged.
	http2Fields = 32 << 10
	fieldCost   = 64
	// http2HeadCost is what each byte of a head is charged in addition.
	http2HeadCost = 3
	// keptHeadCost is what each byte of the largest head beyond freeKeptHead is charged as long as the
	// connection is open: if a head comes in several frames, HPACK's decoder puts it together in a
	// buffer, which it keeps.
	keptHeadCost = 2
	freeKeptHead = 16 << 10

	http2Preface   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	prefaceTimeout = 10 * time.Second // net/http's
)

// chargeHTTP2Heads makes the server charge HTTP/2 connections for their unfinished heads. Below TLS,
// heads can't be told from bodies, and 32 KiB of a head may take 2 MiB. So the HTTP/2 server gets
// connections that look at what TLS has decrypted. It takes any net.Conn if it is handed over as
// net/http hands over unencrypted connections; golang.org/x/net/http2 relies on that, too. If
// net/http no longer does so, HTTP/2 is served without these charges, and TestUnfinishedHeads fails.
//
// limits is the server whose timeouts hold for HTTP/2, instead of those of s.
func chargeHTTP2Heads(s, limits *http.Server) {
	_ = s.Serve(closedListener{}) // sets TLSNextProto; if that fails, ServeTLS returns the error
	serve, plain := s.TLSNextProto["h2"], s.TLSNextProto[http2conn.Protocol]
	if serve == nil || plain == nil {
		return
	}
	s.RegisterOnShutdown(func() { limits.SetKeepAlivesEnabled(false) })
	s.TLSNextProto["h2"] = func(s *http.Server, conn *tls.Conn, h http.Handler) {
		c := connectionOf(conn)
		if c == nil {
			serve(s, conn, h)
			return
		}
		c.endHead() // what was counted is the end of the handshake
		if readPreface(conn) == nil {
			plain(limits, http2conn.Wrap(conn, &http2Conn{Conn: conn, below: c}), h)
		}
	}
}

// readPreface reads what an HTTP/2 connection begins with, as net/http does before it hands over an
// unencrypted connection.
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

// closedListener is a listener that is closed.
type closedListener struct{ net.Listener }

func (closedListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (closedListener) Close() error              { return nil }

// http2Conn is an HTTP/2 connection. Its client is charged for the head that it leaves unfinished, and
// for the queue of answers that it did not read.
type http2Conn struct {
	*tls.Conn
	below   *connection
	block   headerBlock
	queue   queuedControlFrames
	charged int64 // by Read, in bytes
}

// Read implements net.Conn.
func (c *http2Conn) Read(b []byte) (int, error) {
	c.below.head.read.Store(0)
	n, err := c.Conn.Read(b)
	frames := c.block.frames
	c.block.follow(b[:n])
	if c.block.largeTrailers {
		return 0, fmt.Errorf("a request has more than %d bytes of trailers", maxHTTP2Trailers)
	}
	switch now := c.block.cost() + c.queue.add(c.block.frames-frames); {
	case now > c.charged:
		if noRoom := c.below.chargeHead(now, false); noRoom != nil {
			return 0, noRoom
		}
		c.charged = now
	case now < c.charged:
		c.below.lowerCharge(now)
		c.charged = now
	}
	return n, err //nolint:wrapcheck // a net.Conn's
}

// Write implements net.Conn.
func (c *http2Conn) Write(b []byte) (int, error) {
	c.queue.beginWrite(b)
	n, err := c.Conn.Write(b)
	c.queue.endWrite(n)
	return n, err //nolint:wrapcheck // a net.Conn's
}

// headerBlock follows the frames of an HTTP/2 connection (RFC 9113, sections 4.1, 6.2 and 6.10) to
// find header blocks that are unfinished. It does not check the frames: net/http does. Within a
// header block there are no frames of other streams.
type headerBlock struct {
	frames      int64 // how many have begun
	header      [9]byte
	headerRead  int   // bytes of header that have been read
	payloadLeft int   // bytes of the frame that have not been read
	inBlock     bool  // the frame is part of a header block
	endsBlock   bool  // the frame is the last of its block
	size        int64 // bytes of the block so far
	hasFrame    bool  // the block has a complete frame, and lacks others

	// unfinished is the size of a block of which at least one frame is complete, so that net/http
	// keeps its fields, and others are missing; 0: there is none. largest is the most it has been.
	unfinished, largest int64

	newest        uint32 // the last stream that a block has opened
	isTrailers    bool   // the block opens no stream
	largeTrailers bool   // trailers were larger than maxHTTP2Trailers
}

// cost is what the connection is charged, in bytes.
func (h *headerBlock) cost() int64 {
	kept := max(h.largest-freeKeptHead, 0) * keptHeadCost
	return max(kept, min(h.unfinished, http2Fields)*fieldCost+h.unfinished*http2HeadCost)
}

const (
	headersFrame      = 0x1
	goAwayFrame       = 0x7
	continuationFrame = 0x9
	endHeaders        = 0x4
)

// follow reads the next bytes of the connection.
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
			h.largest = max(h.largest, h.size)
		}
	}
}

// begin is called when the header of a frame is complete.
func (h *headerBlock) begin() {
	h.frames++
	h.headerRead = 0
	h.payloadLeft = int(h.header[0])<<16 | int(h.header[1])<<8 | int(h.header[2])
	kind, flags := h.header[3], h.header[4]
	h.inBlock = kind == headersFrame || kind == continuationFrame
	h.endsBlock = flags&endHeaders != 0
	if kind == headersFrame {
		stream := binary.BigEndian.Uint32(h.header[5:]) &^ (1 << 31)
		h.isTrailers = stream <= h.newest
		h.newest = max(h.newest, stream)
	}
	h.largeTrailers = h.largeTrailers || h.inBlock && h.isTrailers && h.size+int64(h.payloadLeft) > maxHTTP2Trailers
}

// end is called when a frame of a block is complete.
func (h *headerBlock) end() {
	h.hasFrame = !h.endsBlock
	if h.endsBlock {
		h.size, h.unfinished = 0, 0
	}
}
